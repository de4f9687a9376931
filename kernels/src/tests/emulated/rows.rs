//! The kernels that only pass over memory, against the CPU's bits.

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::Emulator;
use crate::launch::Launch;
use crate::tests::support::{DTYPES, bits, matrix, unit_roundoff, wide, written};
use crate::{Linear, add, args, gather_silu, kv, move_kv, rms_norm, rotate, silu_mul, write_kv};

/// A tensor's elements where a kernel finds them, on a multiple of 16 bytes.
struct Memory {
    words: Vec<u128>,
    dtype: DType,
    shape: (usize, usize),
}

impl Memory {
    fn new(tensor: &Tensor) -> Self {
        let (shape, dtype) = (tensor.dims2().unwrap(), tensor.dtype());
        let flat = tensor.flatten_all().unwrap();
        let bytes: Vec<u8> = match dtype {
            DType::F32 => (flat.to_vec1::<f32>().unwrap().iter())
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            _ => (flat.to_vec1::<bf16>().unwrap().iter())
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        };
        let words = bytes.chunks(16).map(|chunk| {
            let mut word = [0; 16];
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_le_bytes(word)
        });
        Self {
            words: words.collect(),
            dtype,
            shape,
        }
    }

    fn address(&mut self) -> u64 {
        self.words.as_mut_ptr() as u64
    }

    fn tensor(&self) -> Tensor {
        let bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let len = self.shape.0 * self.shape.1 * self.dtype.size_in_bytes();
        Tensor::from_raw_buffer(
            &bytes[..len],
            self.dtype,
            &[self.shape.0, self.shape.1],
            &Device::Cpu,
        )
        .unwrap()
    }
}

fn name(dtype: DType, names: [&'static str; 2]) -> &'static str {
    names[usize::from(dtype == DType::BF16)]
}

/// Less than a pack, packs and a rest, more than a block's columns, and strides that leave rows on odd places.
const WIDTHS: [usize; 5] = [1, 7, 64, 173, 2056];

/// Elements between two rows of inputs, beyond their width.
const GAP: usize = 3;

const NUM_ROWS: usize = 4;

/// What a kernel leaves in `y`, whose address `args` is told, in whatever order its threads run.
fn emulated<A>(emulator: &Emulator, launch: Launch, y: &Tensor, args: impl Fn(u64) -> A) -> Tensor {
    let [forwards, backwards] = [false, true].map(|backwards| {
        let mut memory = Memory::new(y);
        emulator.run(launch, &args(memory.address()), backwards);
        memory.tensor()
    });
    assert!(bits(&forwards) == bits(&backwards), "{launch:?}");
    forwards
}

/// A matrix that is a part of a wider one, with the memory that the wider one lies in.
fn part(width: usize, seed: u64, dtype: DType) -> (Tensor, Memory, i64) {
    let whole = matrix(NUM_ROWS, width + GAP, seed, dtype);
    let stride = (width + GAP) as i64;
    (
        whole.narrow(1, 0, width).unwrap(),
        Memory::new(&whole),
        stride,
    )
}

fn empty(width: usize, dtype: DType) -> Tensor {
    Tensor::zeros((NUM_ROWS, width), dtype, &Device::Cpu).unwrap()
}

#[test]
fn add_has_the_cpus_bits() {
    let Some(emulator) = Emulator::new("add") else {
        return;
    };
    for (dtype, width) in cases() {
        let (y, mut memory, y_stride) = part(width, 2, dtype);
        let y_address = memory.address();
        let x = matrix(NUM_ROWS, width, 1, dtype);
        let kernel = name(dtype, ["add_float32", "add_bfloat16"]);
        let launch = Launch::packs(kernel, NUM_ROWS, width, dtype.size_in_bytes());
        let got = emulated(&emulator, launch, &x, |x| args::Add {
            x,
            y: y_address,
            y_stride,
            width: width as u32,
        });
        add(&x, &y).unwrap();
        assert!(bits(&got) == bits(&x), "{dtype:?} {width}");
    }
}

#[test]
fn silu_mul_has_the_cpus_bits() {
    let Some(emulator) = Emulator::new("silu_mul") else {
        return;
    };
    for (dtype, width) in cases() {
        let (x, mut memory, x_stride) = part(2 * width, 5, dtype);
        let x_address = memory.address();
        let kernel = name(dtype, ["silu_mul_float32", "silu_mul_bfloat16"]);
        let launch = Launch::packs(kernel, NUM_ROWS, width, dtype.size_in_bytes());
        let got = emulated(&emulator, launch, &empty(width, dtype), |y| args::SiluMul {
            x: x_address,
            y,
            x_stride,
            width: width as u32,
        });
        let want = written((NUM_ROWS, width), dtype, |y| silu_mul(&x, y));
        assert!(bits(&got) == bits(&want), "{dtype:?} {width}");
    }
}

#[test]
fn gather_silu_has_the_cpus_bits() {
    let Some(emulator) = Emulator::new("gather_silu") else {
        return;
    };
    // The first and the last entry, one entry three times, and entries in no order.
    let rows = [[0, 1, 3], [2, 2, 2], [3, 0, 1], [1, 3, 0]];
    for (dtype, width) in cases() {
        let (table, mut memory, table_stride) = part(3 * width, 5, dtype);
        let table_address = memory.address();
        let kernel = name(dtype, ["gather_silu_float32", "gather_silu_bfloat16"]);
        let launch = Launch::packs(kernel, NUM_ROWS, width, dtype.size_in_bytes());
        let got = emulated(&emulator, launch, &empty(width, dtype), |y| {
            args::GatherSilu {
                table: table_address,
                rows: rows.as_ptr() as u64,
                y,
                table_stride,
                width: width as u32,
            }
        });
        let want = written((NUM_ROWS, width), dtype, |y| gather_silu(&table, &rows, y));
        assert!(bits(&got) == bits(&want), "{dtype:?} {width}");
    }
}

#[test]
fn rms_norm_is_close_and_a_row_is_the_same_wherever_it_lies() {
    let Some(emulator) = Emulator::new("rms_norm") else {
        return;
    };
    for (dtype, width) in cases() {
        let w = matrix(1, width, 4, dtype);
        let mut weight = Memory::new(&w);
        let weight = weight.address();
        let kernel = name(dtype, ["rms_norm_float32", "rms_norm_bfloat16"]);
        let launch = Launch::rows(kernel, NUM_ROWS);
        let norm = |x: u64, x_stride: i64| {
            emulated(&emulator, launch, &empty(width, dtype), |y| args::RmsNorm {
                x,
                weight,
                y,
                x_stride,
                width: width as u32,
                eps: 1e-5,
            })
        };
        let (x, mut apart, stride) = part(width, 3, dtype);
        let mut dense = Memory::new(&x.contiguous().unwrap());
        let got = norm(apart.address(), stride);
        assert!(
            bits(&got) == bits(&norm(dense.address(), width as i64)),
            "{dtype:?} {width}: loaded in packs and one by one"
        );
        let want = written((NUM_ROWS, width), dtype, |y| rms_norm(&x, &w, 1e-5, y));
        for (got, want) in wide(&got).concat().iter().zip(wide(&want).concat()) {
            // Both round once; their scales differ by the order of a sum.
            let bound = (2.0 * unit_roundoff(dtype) + 1e-5) * want.abs() + 1e-38;
            assert!(
                (got - want).abs() <= bound,
                "{dtype:?} {width}: {got} not {want}"
            );
        }
    }
}

#[test]
fn rotate_has_the_cpus_bits() {
    let Some(emulator) = Emulator::new("rotary") else {
        return;
    };
    let positions = [0_u32, 7, 19, 7];
    let places = positions.map(|position| position as usize);
    for dtype in DTYPES {
        for (num_heads, half) in [(2, 3), (5, 64)] {
            let (cos, sin) = (
                matrix(20, half, 7, DType::F32),
                matrix(20, half, 8, DType::F32),
            );
            let (mut cos_memory, mut sin_memory) = (Memory::new(&cos), Memory::new(&sin));
            let (cos_address, sin_address) = (cos_memory.address(), sin_memory.address());
            let width = num_heads * 2 * half + 5;
            let x = matrix(NUM_ROWS, width, 6, dtype);
            let kernel = name(dtype, ["rotate_float32", "rotate_bfloat16"]);
            let launch = Launch::columns(kernel, NUM_ROWS, num_heads * half, 1);
            let got = emulated(&emulator, launch, &x, |x| args::Rotate {
                x,
                cos: cos_address,
                sin: sin_address,
                positions: positions.as_ptr() as u64,
                x_stride: width as i64,
                cos_stride: half as i64,
                sin_stride: half as i64,
                num_heads: num_heads as u32,
                half: half as u32,
            });
            rotate(&x, &cos, &sin, &places, num_heads).unwrap();
            assert!(bits(&got) == bits(&x), "{dtype:?} {num_heads} {half}");
        }
    }
}

#[test]
fn rows_are_written_and_moved_as_on_the_cpu() {
    let Some(emulator) = Emulator::new("kv") else {
        return;
    };
    const NUM_SLOTS: usize = 40;
    let moves: Vec<_> = (0..12)
        .map(|i| (12 + 2 * i, 12 + i))
        .chain([(13, 20)])
        .collect();
    for (dtype, width) in cases() {
        let (rows, mut memory, rows_stride) = part(width, 2, dtype);
        let rows_address = memory.address();
        let cache = matrix(NUM_SLOTS, width, 1, dtype);
        // The last row only fills up: the kernel leaves it out, and the host never names such a slot.
        let slots = [5, 0, 11, u32::MAX];
        let kernel = name(dtype, ["write_kv_float32", "write_kv_bfloat16"]);
        let launch = Launch::packs(kernel, NUM_ROWS, width, dtype.size_in_bytes());
        let got = emulated(&emulator, launch, &cache, |cache| args::WriteKv {
            cache,
            rows: rows_address,
            slots: slots.as_ptr() as u64,
            cache_stride: width as i64,
            rows_stride,
            num_slots: NUM_SLOTS as u32,
            width: width as u32,
        });
        write_kv(&cache, &rows.narrow(0, 0, 3).unwrap(), &slots[..3]).unwrap();
        assert!(bits(&got) == bits(&cache), "write {dtype:?} {width}");

        let kernel = name(dtype, ["move_kv_float32", "move_kv_bfloat16"]);
        let launch = Launch::packs(kernel, 1, width, dtype.size_in_bytes());
        let got = kv::groups(&moves).fold(cache.clone(), |cache, group| {
            emulated(&emulator, launch, &cache, |cache| {
                args::MoveKv::new(cache, width as i64, width as u32, group)
            })
        });
        move_kv(&cache, &moves).unwrap();
        assert!(bits(&got) == bits(&cache), "move {dtype:?} {width}");
    }
}

#[test]
fn a_matrixs_rows_have_the_cpus_bits() {
    let Some(emulator) = Emulator::new("linear_rows") else {
        return;
    };
    let indices = [3_u32, 0, 34, 3];
    for (dtype, width) in cases() {
        let w = matrix(35, width, 1, dtype);
        let mut memory = Memory::new(&w);
        let weight = memory.address();
        let kernel = name(dtype, ["linear_rows_float32", "linear_rows_bfloat16"]);
        let launch = Launch::packs(kernel, NUM_ROWS, width, dtype.size_in_bytes());
        let got = emulated(&emulator, launch, &empty(width, dtype), |y| {
            args::LinearRows {
                weight,
                scales: 0,
                indices: indices.as_ptr() as u64,
                y,
                width: width as u32,
            }
        });
        let linear = Linear::pack(&w).unwrap();
        let want = written((NUM_ROWS, width), dtype, |y| linear.rows(&indices, y));
        assert!(bits(&got) == bits(&want), "{dtype:?} {width}");
    }
}

fn cases() -> impl Iterator<Item = (DType, usize)> {
    let of = |dtype| WIDTHS.into_iter().map(move |width| (dtype, width));
    DTYPES.into_iter().flat_map(of)
}
