//! Every op against double precision, and every row against itself in other company: nasty inputs, odd sizes.

#![cfg(test)]

use candle_core::{DType, Device, Tensor};
use foretoken_kernels::{
    Linear, Paging, add, move_kv, paged_attention, rms_norm, rotate, silu_mul, write_kv,
};

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

/// Numbers of many magnitudes, outliers, zeros and denormals among them, the same everywhere.
fn nasty(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..len)
        .map(|_| {
            let unit = next() as f32 / (1u32 << 30) as f32 - 1.0;
            match next() % 23 {
                0 => unit * 60.0,
                1 => unit * 1e-20,
                2 => unit * 1e-39,
                3 => 0.0,
                _ => unit,
            }
        })
        .collect()
}

fn matrix(rows: usize, width: usize, seed: u64, dtype: DType) -> Tensor {
    let values = nasty(rows * width, seed);
    Tensor::from_vec(values, (rows, width), &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

fn wide(tensor: &Tensor) -> Vec<Vec<f64>> {
    let rows: Vec<Vec<f32>> = tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().map(f64::from).collect())
        .collect()
}

fn bits(tensor: &Tensor) -> Vec<Vec<u32>> {
    let rows: Vec<Vec<f32>> = tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().map(f32::to_bits).collect())
        .collect()
}

/// One rounding to the stored type, relative to the result.
fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

/// The op on all rows, on 1 and 2 threads, and on every window of some sizes, has the same bits.
fn same_in_any_company(name: &str, rows: usize, op: impl Fn(usize, usize) -> Tensor + Sync) {
    let whole = with_threads(1, || bits(&op(0, rows)));
    assert_eq!(
        with_threads(2, || bits(&op(0, rows))),
        whole,
        "{name}: two threads"
    );
    for size in [1, 2, 3, 5, 7, 16, 33] {
        for start in (0..rows.saturating_sub(size - 1)).step_by(5) {
            assert_eq!(
                bits(&op(start, size)),
                whole[start..start + size],
                "{name}: rows {start}..{}",
                start + size
            );
        }
    }
}

#[test]
fn linear_is_a_matrix_product_row_by_row() {
    for dtype in DTYPES {
        for (rows, width, outputs) in [
            (40, 1, 1),
            (40, 7, 3),
            (40, 64, 33),
            (65, 173, 90),
            (35, 256, 1030),
        ] {
            let (x, w) = (
                matrix(rows, width, 1, dtype),
                matrix(outputs, width, 2, dtype),
            );
            let linear = Linear::pack(&w).unwrap();
            let y = wide(&linear.forward(&x, DType::F32).unwrap());
            let (xs, ws) = (wide(&x), wide(&w));
            for (x, y) in xs.iter().zip(&y) {
                for (w, y) in ws.iter().zip(y) {
                    let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let size: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
                    // Each product and each of at most `width` additions rounds once. Numbers below the least normal
                    // one, 1.2e-38, may count as zero; the largest factor is 60.
                    let bound =
                        (width + 2) as f64 * (unit_roundoff(DType::F32) * size + 60.0 * 1.2e-38);
                    assert!(
                        (y - exact).abs() <= bound,
                        "{dtype:?} {width}: {y} not {exact}, bound {bound}"
                    );
                }
            }
            same_in_any_company("linear", rows, |start, len| {
                linear
                    .forward(&x.narrow(0, start, len).unwrap(), dtype)
                    .unwrap()
            });
        }
    }
}

#[test]
fn linear_gives_its_rows_as_they_were() {
    for dtype in DTYPES {
        let w = matrix(35, 9, 1, dtype);
        let rows = Linear::pack(&w).unwrap().rows(&[34, 0, 16, 15, 0]).unwrap();
        let (w, rows) = (bits(&w), bits(&rows));
        for (row, index) in rows.iter().zip([34, 0, 16, 15, 0]) {
            assert_eq!(row, &w[index]);
        }
        assert!(
            Linear::pack(&matrix(35, 9, 1, dtype))
                .unwrap()
                .rows(&[35])
                .is_err()
        );
    }
}

#[test]
fn linear_splits_large_outputs_over_threads() {
    let x = matrix(40, 256, 1, DType::BF16);
    let linear = Linear::pack(&matrix(2050, 256, 2, DType::BF16)).unwrap();
    same_in_any_company("linear", 40, |start, len| {
        linear
            .forward(&x.narrow(0, start, len).unwrap(), DType::F32)
            .unwrap()
    });
}

#[test]
fn rms_norm_divides_by_the_root_of_the_mean_square() {
    for dtype in DTYPES {
        for width in [1, 5, 64, 173] {
            let (x, w) = (matrix(40, width, 3, dtype), matrix(1, width, 4, dtype));
            let y = wide(&rms_norm(&x, &w, 1e-5).unwrap());
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
                rms_norm(&x.narrow(0, start, len).unwrap(), &w, 1e-5).unwrap()
            });
        }
    }
}

#[test]
fn silu_mul_gates() {
    for dtype in DTYPES {
        for width in [1, 5, 88] {
            let x = matrix(40, 2 * width, 5, dtype);
            let y = wide(&silu_mul(&x).unwrap());
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
                silu_mul(&x.narrow(0, start, len).unwrap()).unwrap()
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

/// Two sequences over a cache of blocks out of order; the second has a tree behind its 9 tokens.
fn paging() -> Paging {
    let tree = [0b1, 0b11, 0b101, 0b1011, 0b10101];
    let mut paging = Paging {
        block_size: 4,
        block_tables: vec![7, 2, 9, 0, 5, 3, 8, 1, 6],
        table_starts: vec![0, 3, 9],
        context_lens: vec![10, 9],
        ..Paging::default()
    };
    for position in 0..11 {
        paging.seqs.push(0);
        paging.positions.push(position);
        paging.ancestors.push(1);
    }
    for mask in tree {
        paging.seqs.push(1);
        paging
            .positions
            .push(9 + u64::count_ones(mask) as usize - 1);
        paging.ancestors.push(mask);
    }
    paging
}

/// Cache slots of the keys that a row sees, straight from the definition.
fn visible(paging: &Paging, row: usize) -> Vec<usize> {
    let seq = paging.seqs[row];
    let table = &paging.block_tables[paging.table_starts[seq]..paging.table_starts[seq + 1]];
    let physical = |slot: usize| table[slot / 4] as usize * 4 + slot % 4;
    let context_len = paging.context_lens[seq];
    let committed = 0..context_len.min(paging.positions[row] + 1);
    let nodes = (0..64).filter(|node| {
        paging.positions[row] >= context_len && paging.ancestors[row] >> node & 1 == 1
    });
    committed
        .chain(nodes.map(|node| context_len + node))
        .map(physical)
        .collect()
}

fn only(paging: &Paging, start: usize, len: usize) -> Paging {
    let rows = start..start + len;
    Paging {
        seqs: paging.seqs[rows.clone()].to_vec(),
        positions: paging.positions[rows.clone()].to_vec(),
        ancestors: paging.ancestors[rows].to_vec(),
        ..paging.clone()
    }
}

#[test]
fn attention_mixes_the_values_of_the_keys_that_a_row_sees() {
    let paging = paging();
    for dtype in DTYPES {
        for (head_dim, heads, kv_heads) in [(8, 4, 2), (5, 3, 1), (64, 2, 2), (24, 4, 1)] {
            let q = matrix(paging.num_rows(), heads * head_dim, 7, dtype);
            let (k, v) = (
                matrix(40, kv_heads * head_dim, 8, dtype),
                matrix(40, kv_heads * head_dim, 9, dtype),
            );
            let y = wide(&paged_attention(&q, &k, &v, &paging, head_dim).unwrap());
            let (qs, ks, vs) = (wide(&q), wide(&k), wide(&v));
            for (row, y) in y.iter().enumerate() {
                let slots = visible(&paging, row);
                for head in 0..heads {
                    let (at, kv) = (head * head_dim, head / (heads / kv_heads) * head_dim);
                    let score = |&slot: &usize| {
                        let products = (0..head_dim).map(|d| qs[row][at + d] * ks[slot][kv + d]);
                        products.sum::<f64>() / (head_dim as f64).sqrt()
                    };
                    let scores: Vec<f64> = slots.iter().map(score).collect();
                    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> =
                        scores.iter().map(|score| (score - largest).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..head_dim {
                        let terms = || {
                            slots
                                .iter()
                                .zip(&weights)
                                .map(|(&slot, weight)| weight * vs[slot][kv + d])
                        };
                        let exact = terms().sum::<f64>() / total;
                        let size = terms().map(f64::abs).sum::<f64>() / total;
                        // Scores are up to 10^4 in size, so their rounding moves weights by up to 10^-3.
                        let bound = 2e-3 * size + 1.1 * unit_roundoff(dtype) * exact.abs() + 1e-30;
                        assert!(
                            (y[at + d] - exact).abs() <= bound,
                            "{dtype:?} row {row}: {} not {exact}",
                            y[at + d]
                        );
                    }
                }
            }
            same_in_any_company("paged_attention", paging.num_rows(), |start, len| {
                let q = q.narrow(0, start, len).unwrap();
                paged_attention(&q, &k, &v, &only(&paging, start, len), head_dim).unwrap()
            });
        }
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

#[test]
fn a_batch_that_names_what_is_not_there_is_refused() {
    let q = matrix(1, 8, 1, DType::F32);
    let cache = matrix(40, 8, 2, DType::F32);
    let good = Paging {
        block_size: 4,
        block_tables: vec![1],
        table_starts: vec![0, 1],
        context_lens: vec![2],
        seqs: vec![0],
        positions: vec![2],
        ancestors: vec![1],
    };
    assert!(paged_attention(&q, &cache, &cache, &good, 8).is_ok());
    let cases = [
        (
            "block",
            Paging {
                block_tables: vec![10],
                ..good.clone()
            },
        ),
        (
            "slot",
            Paging {
                positions: vec![4],
                context_lens: vec![4],
                ..good.clone()
            },
        ),
        (
            "mask",
            Paging {
                ancestors: vec![0],
                ..good.clone()
            },
        ),
        (
            "mask",
            Paging {
                positions: vec![3],
                ..good.clone()
            },
        ),
        (
            "positions",
            Paging {
                positions: vec![2, 2],
                seqs: vec![0, 0],
                ancestors: vec![1, 1],
                ..good.clone()
            },
        ),
    ];
    for (what, paging) in cases {
        let error = paged_attention(&q, &cache, &cache, &paging, 8)
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    assert!(
        Linear::pack(&matrix(3, 7, 1, DType::F32))
            .unwrap()
            .forward(&q, DType::F32)
            .is_err()
    );
    assert!(add(&q, &matrix(1, 7, 1, DType::F32)).is_err());
    assert!(rms_norm(&q, &matrix(1, 7, 1, DType::F32), 1e-5).is_err());
    assert!(silu_mul(&matrix(1, 7, 1, DType::F32)).is_err());
}
