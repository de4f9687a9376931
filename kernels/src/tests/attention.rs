//! Attention over the paged cache.

use crate::{Linear, Paging, add, paged_attention, rms_norm, silu_mul};
use candle_core::DType;

use super::support::{DTYPES, matrix, same_in_any_company, unit_roundoff, wide, written};

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
            let kv_width = kv_heads * head_dim;
            let cache = matrix(40, 2 * kv_width, 8, dtype);
            let width = heads * head_dim;
            let y = wide(&written((paging.num_rows(), width), dtype, |y| {
                paged_attention(&q, &cache, &paging, head_dim, y)
            }));
            let (qs, kvs) = (wide(&q), wide(&cache));
            for (row, y) in y.iter().enumerate() {
                let slots = visible(&paging, row);
                for head in 0..heads {
                    let (at, kv) = (head * head_dim, head / (heads / kv_heads) * head_dim);
                    let score = |&slot: &usize| {
                        let products = (0..head_dim).map(|d| qs[row][at + d] * kvs[slot][kv + d]);
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
                                .map(|(&slot, weight)| weight * kvs[slot][kv_width + kv + d])
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
                written((len, width), dtype, |y| {
                    paged_attention(&q, &cache, &only(&paging, start, len), head_dim, y)
                })
            });
        }
    }
}

#[test]
fn a_batch_that_names_what_is_not_there_is_refused() {
    let q = matrix(1, 8, 1, DType::F32);
    let y = matrix(1, 8, 1, DType::F32);
    let cache = matrix(40, 16, 2, DType::F32);
    let good = Paging {
        block_size: 4,
        block_tables: vec![1],
        table_starts: vec![0, 1],
        context_lens: vec![2],
        seqs: vec![0],
        positions: vec![2],
        ancestors: vec![1],
    };
    assert!(paged_attention(&q, &cache, &good, 8, &y).is_ok());
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
        let error = paged_attention(&q, &cache, &paging, 8, &y)
            .unwrap_err()
            .to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    let odd = matrix(1, 7, 1, DType::F32);
    assert!(Linear::pack(&odd).unwrap().forward(&q, &y).is_err());
    assert!(add(&q, &odd).is_err());
    assert!(rms_norm(&q, &odd, 1e-5, &y).is_err());
    assert!(rms_norm(&q, &q, 1e-5, &odd).is_err(), "an output too small");
    assert!(silu_mul(&odd, &y).is_err());
}
