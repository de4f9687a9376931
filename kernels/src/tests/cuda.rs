//! Every op on a GPU, against double precision or the host. Where there is none the tests pass with a printed line.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use super::attention::{Heads, batch, exact, only};
use super::support::{DTYPES, bits, matrix, wide, written};
use crate::{
    Linear, LogitChange, Noise, RowSampling, add, gather_silu, move_kv, open_cuda, paged_attention,
    rms_norm, rotate, sample_rows, silu_mul, write_kv,
};

/// A GPU for one test at a time: each opens a stream of its own, and all share scratch memory, which is safe within one
/// stream only; what another test launched would also end up in a recording.
pub(super) struct Gpu {
    device: Device,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Gpu {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

static ALONE: Mutex<()> = Mutex::new(());

pub(super) fn device() -> Option<Gpu> {
    // A test that failed leaves nothing behind that the next one reads.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match open_cuda(0) {
        Ok(device) => Some(Gpu {
            device,
            _alone: alone,
        }),
        Err(error) => {
            println!("not run on a GPU: {error}");
            None
        }
    }
}

/// What an op writes into a buffer of `[rows, width]` on the device.
fn written_there(
    device: &Device,
    dims: (usize, usize),
    dtype: DType,
    op: impl FnOnce(&Tensor) -> Result<()>,
) -> Tensor {
    let y = Tensor::zeros(dims, dtype, device).unwrap();
    op(&y).unwrap();
    y.to_device(&Device::Cpu).unwrap()
}

/// Of the size of what was added up.
fn share(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 1e-2,
        _ => 1e-5,
    }
}

fn assert_close(name: &str, got: &Tensor, want: &Tensor) {
    let share = share(got.dtype());
    for (row, (got, want)) in wide(got).iter().zip(wide(want)).enumerate() {
        for (got, want) in got.iter().zip(want) {
            let near = (got - want).abs() <= share * want.abs() + 1e-30;
            assert!(
                near || got.is_nan() && want.is_nan(),
                "{name} row {row}: {got} not {want}"
            );
        }
    }
}

#[test]
fn linear() {
    let Some(device) = device() else { return };
    for dtype in DTYPES {
        for (rows, width, outputs) in [
            (3, 1, 1),
            (9, 173, 20),
            (70, 4096, 140),
            (130, 1032, 300),
            (64, 14_336, 512),
        ] {
            let (x, w) = (
                matrix(rows, width, 1, dtype),
                matrix(outputs, width, 2, dtype),
            );
            let linear = Linear::pack(&w.to_device(&device).unwrap()).unwrap();
            let there = x.to_device(&device).unwrap();
            let product = |first, len| {
                let x = there.narrow(0, first, len).unwrap();
                written_there(&device, (len, outputs), DType::F32, |y| {
                    linear.forward(&x, y)
                })
            };
            let y = product(0, rows);
            for (x, y) in wide(&x).iter().zip(wide(&y)) {
                for (w, y) in wide(&w).iter().zip(y) {
                    let sum: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let size: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
                    assert!(
                        (y - sum).abs() <= 1e-5 * size + 1e-30,
                        "{width}: {y} not {sum}"
                    );
                }
            }
            let want = bits(&y);
            for len in [1, 2, 7, 8, 9, 16, 33, 64, 65]
                .into_iter()
                .filter(|&len| len <= rows)
            {
                for first in (0..=rows - len).step_by(1 + len / 2) {
                    let got = bits(&product(first, len));
                    assert!(got == want[first..first + len], "{len} rows from {first}");
                }
            }
        }
    }
}

#[test]
fn attention() {
    let Some(device) = device() else { return };
    let heads: [Heads; 8] = [
        (8, 4, 2),
        (5, 3, 1),
        (64, 2, 2),
        (80, 7, 1),
        (96, 2, 2),
        (128, 8, 2),
        (128, 32, 1),
        (256, 8, 1),
    ];
    for dtype in DTYPES {
        for heads in heads {
            let (head_dim, num_heads, kv_heads) = heads;
            let paging = batch(4);
            let q = matrix(paging.num_rows(), num_heads * head_dim, 7, dtype);
            let cache = matrix(1600, 2 * kv_heads * head_dim, 8, dtype);
            let (q_there, cache_there) = (q.to_device(&device), cache.to_device(&device));
            let (q_there, cache_there) = (q_there.unwrap(), cache_there.unwrap());
            let attend = |first, len| {
                let q = q_there.narrow(0, first, len).unwrap();
                let paging = only(&paging, first, len);
                written_there(&device, (len, num_heads * head_dim), dtype, |y| {
                    paged_attention(&q, &cache_there, &paging, head_dim, y)
                })
            };
            let y = attend(0, paging.num_rows());
            // Scores are up to 10^4 in size, so their rounding moves weights by up to 10^-3.
            let share = share(dtype).max(2e-3);
            for (row, (y, exact)) in wide(&y)
                .iter()
                .zip(exact(&q, &cache, &paging, heads))
                .enumerate()
            {
                for (y, (exact, size)) in y.iter().zip(exact) {
                    let near = (y - exact).abs() <= share * size + 1e-30;
                    assert!(near, "{dtype:?} {heads:?} row {row}: {y} not {exact}");
                }
            }
            let want = bits(&y);
            for len in [1, 3, 16, 64, 100] {
                for first in (0..paging.num_rows() - len).step_by(5 + len / 2) {
                    let got = bits(&attend(first, len));
                    assert!(got == want[first..first + len], "{len} rows from {first}");
                }
            }
        }
    }
}

#[test]
fn what_passes_over_memory() {
    let Some(device) = device() else { return };
    let there = |tensor: &Tensor| tensor.to_device(&device).unwrap();
    for dtype in DTYPES {
        for width in [2, 10, 64, 346] {
            let (x, w) = (matrix(40, width, 3, dtype), matrix(1, width, 4, dtype));
            let want = written((40, width), dtype, |y| rms_norm(&x, &w, 1e-5, y));
            let (x_there, w_there) = (there(&x), there(&w));
            let got = written_there(&device, (40, width), dtype, |y| {
                rms_norm(&x_there, &w_there, 1e-5, y)
            });
            assert_close("rms_norm", &got, &want);

            let want = written((40, width / 2), dtype, |y| silu_mul(&x, y));
            let got = written_there(&device, (40, width / 2), dtype, |y| silu_mul(&x_there, y));
            assert_close("silu_mul", &got, &want);

            let entries: Vec<[u32; 3]> = (0..40).map(|row| [row, row * 7 % 40, 39 - row]).collect();
            let table = matrix(40, 3 * width, 10, dtype);
            let want = written((40, width), dtype, |y| gather_silu(&table, &entries, y));
            let table = there(&table);
            let got = written_there(&device, (40, width), dtype, |y| {
                gather_silu(&table, &entries, y)
            });
            assert_close("gather_silu", &got, &want);

            let y = matrix(40, width, 5, dtype);
            add(&x_there, &there(&y)).unwrap();
            add(&x, &y).unwrap();
            assert!(bits(&x_there) == bits(&x), "add");

            let half = width / 2;
            let (cos, sin) = (
                matrix(50, half, 6, DType::F32),
                matrix(50, half, 7, DType::F32),
            );
            let positions: Vec<usize> = (0..40).map(|row| row * 7 % 50).collect();
            rotate(&x, &cos, &sin, &positions, 1).unwrap();
            rotate(&x_there, &there(&cos), &there(&sin), &positions, 1).unwrap();
            assert!(bits(&x_there) == bits(&x), "rotate");

            let cache = matrix(90, width, 8, dtype);
            let cache_there = there(&cache);
            let slots: Vec<u32> = (0..40).map(|row| row * 11 % 90).collect();
            let moves = [(3, 70), (4, 71), (71, 5), (11, 12), (12, 13)];
            write_kv(&cache, &x, &slots).unwrap();
            write_kv(&cache_there, &x_there, &slots).unwrap();
            move_kv(&cache, &moves).unwrap();
            move_kv(&cache_there, &moves).unwrap();
            assert!(bits(&cache_there) == bits(&cache), "kv");

            let (linear, linear_there) = (Linear::pack(&x), Linear::pack(&x_there));
            let want = written((3, width), dtype, |y| linear.unwrap().rows(&[39, 0, 7], y));
            let got = written_there(&device, (3, width), dtype, |y| {
                linear_there.unwrap().rows(&[39, 0, 7], y)
            });
            assert!(bits(&got) == bits(&want), "rows of a matrix");
        }
    }
}

#[test]
fn draws() {
    let Some(device) = device() else { return };
    let filters = [
        (0.0, 0.0, 0, 1.0),
        (1.0, 0.0, 0, 1.0),
        (0.7, 0.1, 0, 1.0),
        (1.0, 0.0, 50, 0.9),
        (1.2, 0.0, 0, 0.8),
    ];
    for vocab in [3, 4099, 128_256] {
        let logits = matrix(40, vocab, 9, DType::F32);
        let row = |index: usize| {
            let (temperature, min_p, top_k, top_p) = filters[index % filters.len()];
            RowSampling {
                noise: Noise::new(index as u64),
                position: index,
                temperature,
                min_p,
                top_k,
                top_p,
            }
        };
        let rows: Vec<RowSampling> = (0..40).map(row).collect();
        let change = |row: u32| LogitChange {
            row,
            token: row % 3,
            bias: 1.5,
            repetition: 1.2,
            frequency: 0.5,
            presence: 0.25,
        };
        let changes: Vec<LogitChange> = (0..40).map(change).collect();
        for changes in [&[][..], &changes] {
            let want = sample_rows(&logits, &rows, changes).unwrap();
            let there = logits.to_device(&device).unwrap();
            let got = sample_rows(&there, &rows, changes).unwrap();
            assert_eq!(got, want, "{vocab} tokens");
        }
    }
}
