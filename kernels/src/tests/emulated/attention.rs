//! The device's attention against double precision, and against itself in other company.

use candle_core::{DType, Tensor};
use half::bf16;

use super::Emulator;
use crate::paged_attention::Shape;
use crate::paged_attention::args::{Args, Kernel};
use crate::paged_attention::plan::Plan;
use crate::tests::attention::{Heads, Sequence, bush, chain, exact, only, paging};
use crate::tests::support::{bits, matrix, wide};
use crate::{Paging, write_kv};

/// A tensor's elements.
fn elements(tensor: &Tensor) -> Vec<bf16> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// What is uploaded of a plan, on a multiple of 8 bytes.
fn words(plan: &Plan, block_tables: &[u32]) -> Vec<u64> {
    let words = plan.words(block_tables);
    let pair = |pair: &[u32]| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 32;
    words.chunks(2).map(pair).collect()
}

/// Attention on the emulated device, in bfloat16 or, row by row, in float32.
struct Device {
    emulator: Emulator,
    backwards: bool,
}

impl Device {
    fn attend(&self, q: &Tensor, cache: &Tensor, paging: &Paging, heads: Heads) -> Tensor {
        let (head_dim, num_heads, kv_heads) = heads;
        let shape = Shape {
            head_dim,
            kv_heads,
            group: num_heads / kv_heads,
        };
        let kernel = Kernel::new(q.dtype(), shape, true).unwrap();
        let mut plan = Plan::new(paging, kernel.num_queries(), shape.group);
        // More blocks than there are items, as a recorded launch may have.
        plan.num_blocks += 1;
        plan.round_up();
        let num_rows = paging.num_rows();
        let launch = kernel.launch(shape, &plan);
        let words = words(&plan, &paging.block_tables);
        let at = |word: usize| words.as_ptr() as u64 + (word * size_of::<u32>()) as u64;
        let partials = vec![f32::NAN; kernel.partials_len(&plan, shape)];
        let run = |q: *const u8, cache: *const u8, y: *mut u8| {
            let args = Args {
                q: q as u64,
                cache: cache as u64,
                y: y as u64,
                partials: partials.as_ptr() as u64,
                num_items: at(0),
                items: at(plan.items_start()),
                rows: at(plan.rows_start()),
                blocks: at(plan.blocks_start()),
                q_stride: (num_heads * head_dim) as i64,
                cache_stride: (2 * kv_heads * head_dim) as i64,
                block_size: paging.block_size as u32,
                kv_heads: kv_heads as u32,
                group: shape.group as u32,
                head_dim: head_dim as u32,
                scale: shape.scale(),
                num_rows: num_rows as u32,
            };
            self.emulator.run(launch, &args, self.backwards);
            if kernel.folds(&plan) {
                let fold = Kernel::fold(shape, num_rows);
                self.emulator.run(fold, &args, self.backwards);
            }
        };
        let dims = (num_rows, num_heads * head_dim);
        match q.dtype() {
            DType::F32 => {
                let q: Vec<f32> = q.flatten_all().unwrap().to_vec1().unwrap();
                let cache: Vec<f32> = cache.flatten_all().unwrap().to_vec1().unwrap();
                let mut y = vec![f32::NAN; q.len()];
                run(
                    q.as_ptr().cast(),
                    cache.as_ptr().cast(),
                    y.as_mut_ptr().cast(),
                );
                Tensor::from_vec(y, dims, &candle_core::Device::Cpu).unwrap()
            }
            _ => {
                let (q, cache) = (elements(q), elements(cache));
                let mut y = vec![bf16::NAN; q.len()];
                run(
                    q.as_ptr().cast(),
                    cache.as_ptr().cast(),
                    y.as_mut_ptr().cast(),
                );
                Tensor::from_vec(y, dims, &candle_core::Device::Cpu).unwrap()
            }
        }
    }
}

/// Runs a test twice, the threads' order reversed the second time.
fn on_device(mut test: impl FnMut(&Device)) {
    let Some(emulator) = Emulator::new("paged_attention") else {
        return;
    };
    let mut device = Device {
        emulator,
        backwards: false,
    };
    test(&device);
    device.backwards = true;
    test(&device);
}

const HEADS: [Heads; 5] = [(8, 4, 2), (5, 3, 1), (80, 7, 1), (128, 4, 1), (256, 2, 1)];

/// A prompt, trees over spans and splits, contexts that end within both, and none at all.
fn batch(block_size: usize) -> Paging {
    let sequence = |context_len, first, tree| Sequence {
        context_len,
        first,
        tree,
    };
    let sequences = [
        sequence(10, 8, chain(1)),
        sequence(0, 0, chain(5)),
        sequence(61, 61, bush()[..5].to_vec()),
        sequence(250, 249, chain(9)),
        sequence(300, 300, bush()[..7].to_vec()),
    ];
    paging(&sequences, block_size, 1600 / block_size, 3)
}

#[test]
fn close_to_double_precision() {
    on_device(|device| {
        for dtype in [DType::F32, DType::BF16] {
            for heads in HEADS {
                let (head_dim, num_heads, kv_heads) = heads;
                let paging = batch(4);
                let q = matrix(paging.num_rows(), num_heads * head_dim, 7, dtype);
                let cache = matrix(1600, 2 * kv_heads * head_dim, 8, dtype);
                let y = wide(&device.attend(&q, &cache, &paging, heads));
                let exact = exact(&q, &cache, &paging, heads);
                // Weights are rounded to bfloat16, and the output is.
                let share = if dtype == DType::F32 { 2e-3 } else { 1e-2 };
                for (row, (y, exact)) in y.iter().zip(&exact).enumerate() {
                    for (y, (exact, size)) in y.iter().zip(exact) {
                        assert!(
                            (y - exact).abs() <= share * size + 1e-30,
                            "{dtype:?} {heads:?} row {row}: {y} not {exact}, of {size}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn a_row_is_the_same_in_any_company_and_wherever_its_keys_lie() {
    let heads = (64, 4, 2);
    let paging = batch(4);
    on_device(|device| {
        let q = matrix(paging.num_rows(), 4 * 64, 7, DType::BF16);
        let cache = matrix(1600, 2 * 2 * 64, 8, DType::BF16);
        let want = bits(&device.attend(&q, &cache, &paging, heads));
        for size in [1, 16] {
            for start in (0..paging.num_rows() - size).step_by(7) {
                let some = q.narrow(0, start, size).unwrap();
                let got = bits(&device.attend(&some, &cache, &only(&paging, start, size), heads));
                assert!(got == want[start..start + size], "{size} rows from {start}");
            }
        }
        let moved = batch(16);
        let mut rows: Vec<u32> = vec![0; 1600];
        for seq in 0..moved.context_lens.len() {
            for slot in 0..moved.context_lens[seq] + 64 {
                rows[moved.slot(seq, slot) as usize] = paging.slot(seq, slot);
            }
        }
        let rows = Tensor::from_vec(rows, 1600, cache.device()).unwrap();
        let cache = cache.index_select(&rows, 0).unwrap();
        assert!(bits(&device.attend(&q, &cache, &moved, heads)) == want);
    });
}

#[test]
fn a_draft_row_is_the_same_when_it_is_committed() {
    // A chain's rows as nodes of a tree, as rows of a prompt, of a long prompt, and each as a root.
    let heads = (64, 4, 2);
    on_device(|device| {
        let cache = matrix(800, 2 * 2 * 64, 8, DType::BF16);
        let q = matrix(84, 4 * 64, 7, DType::BF16);
        for context_len in [0, 63, 250] {
            let sequence = |context_len, first, tree| {
                let sequence = Sequence {
                    context_len,
                    first,
                    tree,
                };
                paging(&[sequence], 4, 200, 0)
            };
            let attend = |first: usize, paging: &Paging| {
                let q = q.narrow(0, first, paging.num_rows()).unwrap();
                bits(&device.attend(&q, &cache, paging, heads))
            };
            let want = attend(64, &sequence(context_len, context_len, chain(9)));
            let prompt = sequence(context_len + 8, context_len, chain(1));
            assert!(attend(64, &prompt) == want, "{context_len}");
            let before = context_len.min(64);
            let long = sequence(context_len + 8, context_len - before, chain(1));
            assert!(
                attend(64 - before, &long)[before..] == want,
                "{context_len}"
            );
            for (row, want) in want.iter().enumerate() {
                let root = sequence(context_len + row, context_len + row, chain(1));
                assert!(attend(64 + row, &root)[0] == *want, "{context_len} {row}");
            }
        }
    });
}

#[test]
fn what_is_no_number_is_seen_by_those_alone_that_see_it() {
    let heads = (64, 4, 2);
    let sequences = [
        Sequence {
            context_len: 300,
            first: 298,
            tree: bush()[..12].to_vec(),
        },
        Sequence {
            context_len: 9,
            first: 9,
            tree: chain(3),
        },
    ];
    let paging = paging(&sequences, 4, 200, 1);
    on_device(|device| {
        let q = matrix(paging.num_rows(), 4 * 64, 7, DType::BF16);
        let cache = matrix(800, 2 * 2 * 64, 8, DType::BF16);
        let want = bits(&device.attend(&q, &cache, &paging, heads));
        for (seq, slot) in [(0, 300 + 2), (1, 4), (0, 299), (0, 311)] {
            let spoilt = cache.copy().unwrap();
            let bad = Tensor::full(f32::NAN, (1, 2 * 2 * 64), q.device()).unwrap();
            let slot = paging.slot(seq, slot);
            write_kv(&spoilt, &bad.to_dtype(DType::BF16).unwrap(), &[slot]).unwrap();
            let got = bits(&device.attend(&q, &spoilt, &paging, heads));
            for row in 0..paging.num_rows() {
                let sees =
                    crate::tests::attention::visible(&paging, row).contains(&(slot as usize));
                if sees {
                    assert!(got[row].iter().all(|&bits| f32::from_bits(bits).is_nan()));
                } else {
                    assert!(got[row] == want[row], "row {row} of slot {slot}");
                }
            }
        }
    });
}

#[test]
fn rows_that_fill_a_step_up_change_no_bit_of_the_others() {
    let heads = (64, 4, 2);
    let paging = batch(4);
    let num_rows = paging.num_rows();
    on_device(|device| {
        for dtype in [DType::F32, DType::BF16] {
            let q = matrix(num_rows, 4 * 64, 7, dtype);
            let cache = matrix(1600, 2 * 2 * 64, 8, dtype);
            let want = bits(&device.attend(&q, &cache, &paging, heads));
            for more in [1, 64 - num_rows % 64] {
                let spoilt = Tensor::full(f32::NAN, (more, 4 * 64), q.device()).unwrap();
                let q = Tensor::cat(&[&q, &spoilt.to_dtype(dtype).unwrap()], 0).unwrap();
                let padded = paging.padded(num_rows + more);
                let got = bits(&device.attend(&q, &cache, &padded, heads));
                assert!(got[..num_rows] == want, "{more} more in {dtype:?}");
            }
        }
    });
}
