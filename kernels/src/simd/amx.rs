//! Tiles of x86-64 (AMX): up to 16 rows of 64 bytes, multiplied tile by tile.
//!
//! In assembly, because stable Rust has no names for these instructions. Each product is one block of it: between two
//! blocks a compiler need not keep what the tiles hold.

use std::arch::asm;
use std::arch::x86_64::_xgetbv;

use super::LINE;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// Bytes of a whole tile; a row of it is as long as a cache line.
pub(crate) const TILE: usize = TILE_ROWS * LINE;

/// How far ahead of its use memory is asked for, in tiles of each panel.
const AHEAD: usize = 4;

/// What a tile's rows hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dot {
    /// 32 bfloat16 numbers. Denormal ones, and denormal results, count as zero.
    Bf16,
    /// 64 int8 numbers, and in tiles of `x` unsigned ones.
    Int8,
}

/// The sums of four tiles, one after another; float32 or int32.
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[[u32; TILE_ROWS]; TILE_ROWS]; 4]);

/// Whether the processor has tiles for all that [`Dot`] names, the system keeps their state, and it lets this process
/// use them.
pub(super) fn detected() -> bool {
    cfg!(target_os = "linux") && on_this_processor() && kept_by_the_system() && permitted()
}

fn on_this_processor() -> bool {
    const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    // Every processor that has these also has AVX-512, whose leaf is the same one, and XSAVE.
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("xsave")
        && extended_features() & BF16_TILE_INT8 == BF16_TILE_INT8
}

/// The last word of CPUID's leaf 7, of which the standard library tells only parts.
fn extended_features() -> u32 {
    let features;
    // SAFETY: changes nothing but registers, and gives `rbx` back, which is not to be named here.
    unsafe {
        asm!(
            "mov {kept}, rbx",
            "cpuid",
            "mov rbx, {kept}",
            kept = out(reg) _,
            inout("eax") 7 => _,
            inout("ecx") 0 => _,
            out("edx") features,
            options(nomem, nostack, preserves_flags),
        );
    }
    features
}

fn kept_by_the_system() -> bool {
    const CONFIG_AND_DATA: u64 = 1 << 17 | 1 << 18;
    // SAFETY: XSAVE was detected, which says that the system has turned it on.
    unsafe { _xgetbv(0) & CONFIG_AND_DATA == CONFIG_AND_DATA }
}

/// Asks for the state of 8 kB that Linux gives a thread only on request; granted once, for all threads.
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const TILE_DATA: usize = 18;
    arch_prctl(ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0
}

/// Linux's system call of that name.
fn arch_prctl(code: usize, argument: usize) -> isize {
    const ARCH_PRCTL: isize = 158;
    let result;
    // SAFETY: the codes used here change no memory but what `argument` points to.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") code,
            in("rsi") argument,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// This thread's tiles, for products with some rows of `x`.
///
/// Tiles 0 to 3 hold sums and 4 to 5 rows of `x`, 6 and 7 weights.
pub(crate) struct Tiles {
    dot: Dot,
    /// Bytes between two rows of `x`.
    x_stride: usize,
    /// Tiles of one panel, and of a row.
    depth: usize,
}

impl Tiles {
    /// Tiles of `num_rows` rows.
    ///
    /// # Safety
    /// [`detected`] said so.
    pub(crate) unsafe fn new(dot: Dot, num_rows: usize, x_stride: usize, depth: usize) -> Self {
        assert!((1..=TILE_ROWS).contains(&num_rows));
        let (x, w) = (num_rows as u8, TILE_ROWS as u8);
        let line = LINE as u16;
        let config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [
                line, line, line, line, line, line, line, line, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            rows: [x, x, x, x, x, x, w, w, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        // SAFETY: a valid configuration; the tiles are there by the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
        Self {
            dot,
            x_stride,
            depth,
        }
    }
}

impl Drop for Tiles {
    /// Frees the thread's switches from keeping the tiles.
    fn drop(&mut self) {
        // SAFETY: tiles were configured, so they are there.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}

/// Asks for a tile's lines, wherever they are.
macro_rules! fetch {
    ($level:literal, $tile:literal) => {
        concat!(
            fetch!($level, $tile, 0),
            fetch!($level, $tile, 256),
            fetch!($level, $tile, 512),
            fetch!($level, $tile, 768),
        )
    };
    ($level:literal, $tile:literal, $offset:literal) => {
        concat!(
            $level,
            " [",
            $tile,
            " + ",
            $offset,
            "]\n",
            $level,
            " [",
            $tile,
            " + ",
            $offset,
            " + 64]\n",
            $level,
            " [",
            $tile,
            " + ",
            $offset,
            " + 128]\n",
            $level,
            " [",
            $tile,
            " + ",
            $offset,
            " + 192]\n",
        )
    };
}

/// One tile of rows by four panels, with the instruction `$dot`. Weights come from memory and are used once.
macro_rules! one_by_four {
    ($dot:literal, $tiles:ident, $x:ident, $panels:ident, $sums:ident) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {left}, {left}",
            "jz 3f",
            "2:",
            // So near the end of the panels, what comes next is in those behind them.
            "cmp {left}, {ahead_tiles}",
            "cmove {ahead}, {behind}",
            "tileloadd tmm4, [{x} + {x_stride}*1]",
            "tileloadd tmm6, [{w0} + {line}*1]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            fetch!("prefetcht0", "{w0} + {ahead}"),
            "tileloadd tmm7, [{w1} + {line}*1]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            fetch!("prefetcht0", "{w1} + {ahead}"),
            "tileloadd tmm6, [{w2} + {line}*1]",
            concat!($dot, " tmm2, tmm4, tmm6"),
            fetch!("prefetcht0", "{w2} + {ahead}"),
            "tileloadd tmm7, [{w3} + {line}*1]",
            concat!($dot, " tmm3, tmm4, tmm7"),
            fetch!("prefetcht0", "{w3} + {ahead}"),
            "add {x}, 64",
            "add {w0}, 1024",
            "add {w1}, 1024",
            "add {w2}, 1024",
            "add {w3}, 1024",
            "dec {left}",
            "jnz 2b",
            "3:",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            x = inout(reg) $x => _,
            w0 = inout(reg) $panels[0] => _,
            w1 = inout(reg) $panels[1] => _,
            w2 = inout(reg) $panels[2] => _,
            w3 = inout(reg) $panels[3] => _,
            left = inout(reg) $tiles.depth => _,
            ahead = inout(reg) $tiles.first_ahead() => _,
            behind = in(reg) $tiles.behind(),
            x_stride = in(reg) $tiles.x_stride,
            line = in(reg) LINE,
            sums = in(reg) $sums,
            ahead_tiles = const AHEAD,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// Two tiles of rows by two panels, with the instruction `$dot`. More rows may meet the same weights, so they and those
/// of the next panels lie in the second cache.
macro_rules! two_by_two {
    ($dot:literal, $tiles:ident, $x:ident, $panels:ident, $next:ident, $sums:ident) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {left}, {left}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{x0} + {x_stride}*1]",
            "tileloadd tmm6, [{w0} + {line}*1]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{w1} + {line}*1]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            "test {per_step}, {per_step}",
            "jz 4f",
            fetch!("prefetcht1", "{next}"),
            "cmp {per_step}, 1024",
            "jbe 4f",
            fetch!("prefetcht1", "{next} + 1024"),
            "4:",
            "tileloadd tmm5, [{x1} + {x_stride}*1]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            concat!($dot, " tmm3, tmm5, tmm7"),
            "add {x0}, 64",
            "add {x1}, 64",
            "add {w0}, 1024",
            "add {w1}, 1024",
            "add {next}, {per_step}",
            "dec {left}",
            "jnz 2b",
            "3:",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            x0 = inout(reg) $x[0] => _,
            x1 = inout(reg) $x[1] => _,
            w0 = inout(reg) $panels[0] => _,
            w1 = inout(reg) $panels[1] => _,
            next = inout(reg) $next.0 => _,
            per_step = in(reg) $next.1,
            left = inout(reg) $tiles.depth => _,
            x_stride = in(reg) $tiles.x_stride,
            line = in(reg) LINE,
            sums = in(reg) $sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Tiles {
    /// The rows at `x` by four panels; tile i of the sums is that of panel i.
    ///
    /// # Safety
    /// At `x` are as many rows as were configured, of `depth` lines each and apart by the stride; at each of `panels`
    /// are `depth` tiles.
    pub(crate) unsafe fn one_by_four(&self, x: *const u8, panels: [*const u8; 4], sums: &mut Sums) {
        let tiles = self;
        let sums: *mut Sums = sums;
        // SAFETY: reads as the caller promised and writes the sums.
        unsafe {
            match self.dot {
                Dot::Bf16 => one_by_four!("tdpbf16ps", tiles, x, panels, sums),
                Dot::Int8 => one_by_four!("tdpbusd", tiles, x, panels, sums),
            }
        }
    }

    /// The rows at each of `x` by two panels; tile 2 i + j of the sums is that of rows i and panel j. Asks meanwhile
    /// for memory from `next.0` on, `next.1` bytes with each of `depth` steps: none, one tile's, or two tiles'.
    ///
    /// # Safety
    /// At each of `x` are as many rows as were configured, of `depth` lines each and apart by the stride; at each of
    /// `panels` are `depth` tiles.
    pub(crate) unsafe fn two_by_two(
        &self,
        x: [*const u8; 2],
        panels: [*const u8; 2],
        next: (*const u8, usize),
        sums: &mut Sums,
    ) {
        let tiles = self;
        let sums: *mut Sums = sums;
        // SAFETY: reads as the caller promised and writes the sums.
        unsafe {
            match self.dot {
                Dot::Bf16 => two_by_two!("tdpbf16ps", tiles, x, panels, next, sums),
                Dot::Int8 => two_by_two!("tdpbusd", tiles, x, panels, next, sums),
            }
        }
    }

    /// Where the first memory to ask for lies, from each of four panels on.
    fn first_ahead(&self) -> usize {
        match self.depth > AHEAD {
            true => AHEAD * TILE,
            false => self.behind(),
        }
    }

    /// The same for what lies in the four panels behind.
    fn behind(&self) -> usize {
        AHEAD * TILE + 3 * self.depth * TILE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_answers() {
        // Bits of the same word that the standard library tells too.
        for (bit, known) in [
            (8, is_x86_feature_detected!("avx512vp2intersect")),
            (23, is_x86_feature_detected!("avx512fp16")),
        ] {
            assert_eq!(extended_features() >> bit & 1 == 1, known, "{bit}");
        }
    }

    #[test]
    fn the_system_answers() {
        const ARCH_GET_XCOMP_SUPP: usize = 0x1021;
        let mut features = 0_u64;
        let result = arch_prctl(ARCH_GET_XCOMP_SUPP, &raw mut features as usize);
        // Linux before 5.16 does not know the question.
        assert!(result != 0 || features & 0b11 == 0b11, "{features:#x}");
    }
}
