//! One code path per process: vectors of the widest kind that this processor has, chosen once.
//!
//! Sums differ between kinds of vector, so the choice may never depend on anything but the processor.

#![expect(
    unsafe_code,
    reason = "vector instructions; each is reached only after its processor flag was seen"
)]

use std::sync::OnceLock;

use half::bf16;

use portable::Portable;

/// A vector of `f32` lanes. `mul_add` may or may not round between multiplication and addition, but always the same.
pub(crate) trait Vector: Copy {
    const LANES: usize;

    /// Whether one instruction adds up the products of a pair or quad, which others take apart.
    const PRODUCTS: bool = false;

    /// Two bfloat16 numbers in each lane.
    type Pairs: Copy;

    fn zero() -> Self;
    fn splat(value: f32) -> Self;
    /// `self + a * b`
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The lanes' sum, in one fixed order.
    fn sum(self) -> f32;
    /// Lane by lane the larger number; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The largest lane, where none is NaN.
    fn largest(self) -> f32;
    /// # Safety
    /// `LANES` elements from `data` on are readable.
    unsafe fn load(data: *const f32) -> Self;
    /// # Safety
    /// `LANES` elements from `data` on are readable.
    unsafe fn load_bf16(data: *const bf16) -> Self;
    /// # Safety
    /// `2 * LANES` elements from `data` on are readable.
    unsafe fn load_pairs(data: *const bf16) -> Self::Pairs;
    /// The same pair in every lane.
    fn splat_pair(pair: [bf16; 2]) -> Self::Pairs;
    /// `self + a.0 * b.0 + a.1 * b.1`, in an order and with roundings that are the processor's, but always the same.
    fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self;
    /// # Safety
    /// `LANES` elements from `data` on are writable.
    unsafe fn store(self, data: *mut f32);

    /// Puts the same word of 16 rows side by side, for the first `num_words` words.
    ///
    /// # Safety
    /// Each row holds as many words, of any alignment, and `out` has room for 16 times as many.
    #[inline(always)]
    unsafe fn turn(rows: &[*const u32; 16], num_words: usize, out: *mut u32) {
        for (lane, &row) in rows.iter().enumerate() {
            for word in 0..num_words {
                // SAFETY: the caller's promise.
                unsafe { *out.add(word * 16 + lane) = row.add(word).read_unaligned() };
            }
        }
    }

    /// Whole sums, one in each lane.
    type Ints: Copy;
    /// Four int8 numbers in each lane.
    type Quads: Copy;
    /// The same four int8 numbers in every lane.
    type SplatQuad: Copy;
    /// What `splat_quad`'s numbers are xored with: an instruction that takes them unsigned sees them 128 too large.
    const BIAS: u8;

    fn zero_ints() -> Self::Ints;
    /// # Safety
    /// `4 * LANES` elements from `data` on are readable.
    unsafe fn load_quads(data: *const i8) -> Self::Quads;
    fn splat_quad(quad: [i8; 4]) -> Self::SplatQuad;
    /// `sums` plus the four products in each lane, exactly.
    fn add_quads(sums: Self::Ints, a: Self::SplatQuad, b: Self::Quads) -> Self::Ints;
    /// # Safety
    /// `LANES` elements from `data` on are writable.
    unsafe fn store_ints(sums: Self::Ints, data: *mut i32);
}

/// Asks for a cache line that is read soon; any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(data: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(data.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

/// Work that is compiled once for each kind of vector. `run` has to be `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<V: Vector>(self);
}

/// Runs a kernel with this processor's vectors.
pub(crate) fn dispatch(kernel: impl Kernel) {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` saw the flags.
        Isa::Amx | Isa::Avx512Bf16 => unsafe { x86::avx512_bf16(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` saw the flags.
        Isa::Avx512 => unsafe { x86::avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` saw the flags.
        Isa::Avx2 => unsafe { x86::avx2(kernel) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `isa` saw the flag.
        Isa::Neon => unsafe { neon::neon(kernel) },
        Isa::Portable => kernel.run::<Portable>(),
    }
}

#[derive(Clone, Copy)]
enum Isa {
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// The same vectors, and tiles for products.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

/// Whether matrices are multiplied in tiles.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_tiles() -> bool {
    matches!(isa(), Isa::Amx)
}

fn isa() -> Isa {
    #[cfg(test)]
    if let Some(forced) = FORCED.get() {
        return forced;
    }
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            let products =
                is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni");
            if avx512 && products && amx::detected() {
                return Isa::Amx;
            }
            if avx512 && products {
                return Isa::Avx512Bf16;
            }
            if avx512 {
                return Isa::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Isa::Neon;
        }
        Isa::Portable
    })
}

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Most lanes that a vector has.
pub(crate) const MAX_LANES: usize = 16;

/// The last, partial vector of a row, zeros behind.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(tail: &[T]) -> [T; MAX_LANES] {
    let mut lanes = [T::default(); MAX_LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    lanes
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// Runs a test with every kind of vector that this processor has, by name, on a single thread.
#[cfg(test)]
pub(crate) fn on_every_kind(mut test: impl FnMut(&'static str) + Send) {
    let mut kinds = vec![("portable", Isa::Portable)];
    #[cfg(target_arch = "aarch64")]
    kinds.push(("neon", isa()));
    #[cfg(target_arch = "x86_64")]
    {
        let best = isa();
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            kinds.push(("avx2", Isa::Avx2));
        }
        if matches!(best, Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx) {
            kinds.push(("avx512", Isa::Avx512));
        }
        if matches!(best, Isa::Avx512Bf16 | Isa::Amx) {
            kinds.push(("avx512_bf16", Isa::Avx512Bf16));
        }
        if matches!(best, Isa::Amx) {
            kinds.push(("amx", best));
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
    pool.build().unwrap().install(|| {
        for (name, kind) in kinds {
            FORCED.set(Some(kind));
            test(name);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does each operation on small whole numbers, which every kind of vector computes exactly.
    struct Probe<'a>(&'a mut Vec<(&'static str, Vec<f32>)>);

    impl Kernel for Probe<'_> {
        #[inline(always)]
        fn run<V: Vector>(self) {
            let wide: [f32; 2 * MAX_LANES] = std::array::from_fn(|i| i as f32 - 7.0);
            let narrow = wide.map(bf16::from_f32);
            // SAFETY: both arrays are as long as two vectors of the widest kind.
            let (x, y, pairs) = unsafe {
                (
                    V::load(wide.as_ptr()),
                    V::load_bf16(narrow.as_ptr().add(3)),
                    V::load_pairs(narrow.as_ptr()),
                )
            };
            let splat = V::splat_pair([bf16::from_f32(2.0), bf16::from_f32(-3.0)]);
            let results = [
                ("load", x),
                ("load_bf16", y),
                ("splat", V::splat(5.0)),
                ("mul_add", x.mul_add(y, V::splat(3.0))),
                ("max", V::splat(f32::NAN).max(x).max(V::splat(-2.0))),
                ("add_products", x.add_products(pairs, splat)),
            ];
            for (name, vector) in results {
                let mut lanes = [0.0; MAX_LANES];
                // SAFETY: no vector has more lanes.
                unsafe { vector.store(lanes.as_mut_ptr()) };
                self.0.push((name, lanes[..V::LANES].to_vec()));
                self.0.push(("sum", vec![vector.sum()]));
                self.0.push(("largest", vec![vector.largest()]));
            }
        }
    }

    fn check(kind: &str, results: &[(&str, Vec<f32>)]) {
        let lanes = results[0].1.len();
        let lane = |f: fn(f32) -> f32| -> Vec<f32> { (0..lanes).map(|i| f(i as f32)).collect() };
        let expected = [
            ("load", lane(|i| i - 7.0)),
            ("load_bf16", lane(|i| i - 4.0)),
            ("splat", lane(|_| 5.0)),
            ("mul_add", lane(|i| (i - 7.0) + (i - 4.0) * 3.0)),
            ("max", lane(|i| (i - 7.0).max(-2.0))),
            (
                "add_products",
                lane(|i| (i - 7.0) + (2.0 * i - 7.0) * 2.0 - (2.0 * i - 6.0) * 3.0),
            ),
        ];
        for ((name, want), got) in expected.into_iter().zip(results.chunks_exact(3)) {
            let largest = want.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(got[0], (name, want.clone()), "{kind}");
            assert_eq!(got[1], ("sum", vec![want.iter().sum()]), "{kind}: {name}");
            assert_eq!(got[2], ("largest", vec![largest]), "{kind}: {name}");
        }
    }

    #[test]
    fn every_kind_of_vector_that_runs_here_computes_the_same() {
        on_every_kind(|kind| {
            let mut results = Vec::new();
            dispatch(Probe(&mut results));
            check(kind, &results);
        });
    }
}
