//! Ops that work row by row, or on the cache's rows.

use crate::{gather_silu, move_kv, rms_norm, rotate, silu_mul, write_kv};
use candle_core::{Device, Tensor};

use super::support::{DTYPES, bits, matrix, same_in_any_company, unit_roundoff, wide, written};

#[test]
fn rms_norm_divides_by_the_root_of_the_mean_square() {
    for dtype in DTYPES {
        for width in [1, 5, 64, 173] {
            let (x, w) = (matrix(40, width, 3, dtype), matrix(1, width, 4, dtype));
            let y = wide(&written((40, width), dtype, |y| rms_norm(&x, &w, 1e-5, y)));
            let weights = wide(&w).remove(0);
            for (x, y) in wide(&x).iter().zip(&y) {
                let mean = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
                for ((x, w), y) in x.iter().zip(&weights).zip(y) {
                    let exact = x / (mean + 1e-5).sqrt() * w;
                    let bound =
                        1.1 * unit_roundoff(dtype) * exact.abs() + 1e-5 * exact.abs() + 1e-38;
                    assert!(
                        (y - exact).abs() <= bound,
                        "{dtype:?} {width}: {y} not {exact}"
                    );
                }
            }
            same_in_any_company("rms_norm", 40, |start, len| {
                written((len, width), dtype, |y| {
                    rms_norm(&x.narrow(0, start, len)?, &w, 1e-5, y)
                })
            });
        }
    }
}

#[test]
fn gather_silu_activates_sums_of_what_is_named() {
    let names: Vec<[u32; 3]> = (0..40).map(|row| [row % 7, row * 5 % 7, row / 7]).collect();
    for dtype in DTYPES {
        for width in [1, 5, 88] {
            let table = matrix(7, 3 * width, 6, dtype);
            let y = written((40, width), dtype, |y| gather_silu(&table, &names, y));
            let entries = wide(&table);
            for (&[a, b, c], y) in names.iter().zip(wide(&y)) {
                let [a, b, c] = [a, b, c].map(|entry| &entries[entry as usize]);
                for (index, y) in y.iter().enumerate() {
                    let sum = a[index] + b[width + index] + c[2 * width + index];
                    let exact = sum / (1.0 + (-sum).exp());
                    let bound = 1.1 * unit_roundoff(dtype) * exact.abs() + 1e-5;
                    assert!((y - exact).abs() <= bound, "{dtype:?}: {y} not {exact}");
                }
            }
            same_in_any_company("gather_silu", 40, |start, len| {
                written((len, width), dtype, |y| {
                    gather_silu(&table, &names[start..start + len], y)
                })
            });
        }
    }
}

#[test]
fn silu_mul_gates() {
    for dtype in DTYPES {
        for width in [1, 5, 88] {
            let x = matrix(40, 2 * width, 5, dtype);
            let y = wide(&written((40, width), dtype, |y| silu_mul(&x, y)));
            for (x, y) in wide(&x).iter().zip(&y) {
                for (index, y) in y.iter().enumerate() {
                    let (gate, up) = (x[index], x[width + index]);
                    let exact = gate / (1.0 + (-gate).exp()) * up;
                    let bound = (1.1 * unit_roundoff(dtype) + 1e-6) * exact.abs() + 1e-30;
                    assert!(
                        (y - exact).abs() <= bound,
                        "{dtype:?} {gate} {up}: {y} not {exact}"
                    );
                }
            }
            same_in_any_company("silu_mul", 40, |start, len| {
                written((len, width), dtype, |y| {
                    silu_mul(&x.narrow(0, start, len)?, y)
                })
            });
        }
    }
}

#[test]
fn rotate_turns_pairs_by_the_positions_angle() {
    let half = 3;
    let angles: Vec<f32> = (0..20 * half).map(|index| index as f32 * 0.37).collect();
    let table = |f: fn(f32) -> f32| {
        Tensor::from_vec(
            angles.iter().map(|&a| f(a)).collect::<Vec<_>>(),
            (20, half),
            &Device::Cpu,
        )
        .unwrap()
    };
    let (cos, sin) = (table(f32::cos), table(f32::sin));
    for dtype in DTYPES {
        // Two heads are turned, what stands behind them is not.
        let before = matrix(4, 2 * 2 * half + 5, 6, dtype);
        let x = before.copy().unwrap();
        let positions = [0, 7, 19, 7];
        rotate(&x, &cos, &sin, &positions, 2).unwrap();
        for ((before, after), position) in wide(&before).iter().zip(wide(&x)).zip(positions) {
            assert_eq!(before[4 * half..], after[4 * half..]);
            for head in [0, 2 * half] {
                for pair in 0..half {
                    let (a, b) = (before[head + pair], before[head + half + pair]);
                    let angle = f64::from(angles[position * half + pair]);
                    let exact = [
                        a * angle.cos() - b * angle.sin(),
                        b * angle.cos() + a * angle.sin(),
                    ];
                    let bound = (1.1 * unit_roundoff(dtype) + 1e-6) * (a.abs() + b.abs()) + 1e-30;
                    assert!((after[head + pair] - exact[0]).abs() <= bound);
                    assert!((after[head + half + pair] - exact[1]).abs() <= bound);
                }
            }
        }
        assert!(
            rotate(&x, &cos, &sin, &[0, 7, 20, 7], 2).is_err(),
            "no angles for position 20"
        );
    }
}

#[test]
fn rows_are_written_and_moved_by_slot_and_no_further() {
    for dtype in DTYPES {
        let cache = Tensor::zeros((12, 6), dtype, &Device::Cpu).unwrap();
        let rows = matrix(3, 10, 1, dtype);
        // A part of wider rows, as keys are a part of queries, keys and values.
        write_kv(&cache, &rows.narrow(1, 2, 6).unwrap(), &[5, 0, 11]).unwrap();
        let (written, rows) = (bits(&cache), bits(&rows));
        for (slot, row) in [(5, 0), (0, 1), (11, 2)] {
            assert_eq!(written[slot], rows[row][2..8]);
        }
        assert_eq!(
            written
                .iter()
                .filter(|row| row.iter().all(|&bits| bits == 0))
                .count(),
            9
        );
        move_kv(&cache, &[(5, 1), (11, 5)]).unwrap();
        let moved = bits(&cache);
        assert_eq!(
            (&moved[1], &moved[5]),
            (&written[5], &written[11]),
            "in order: slot 5 was read before it was written"
        );
        assert!(
            write_kv(
                &cache,
                &cache.narrow(0, 0, 1).unwrap().copy().unwrap(),
                &[12]
            )
            .is_err()
        );
        assert!(move_kv(&cache, &[(0, 12)]).is_err());
    }
}
