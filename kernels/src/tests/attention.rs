//! Attention over the paged cache.

use candle_core::{DType, Tensor};

use super::support::{DTYPES, bits, matrix, same_in_any_company, unit_roundoff, wide, written};
use crate::simd::on_every_kind;
use crate::{Linear, Paging, add, paged_attention, rms_norm, silu_mul, write_kv};

/// A sequence: committed tokens before its root, from which of them on rows are computed, and its tree's mask.
pub(super) struct Sequence {
    pub(super) context_len: usize,
    pub(super) first: usize,
    pub(super) tree: Vec<u64>,
}

/// Sequences over blocks that lie about in a cache of `num_blocks`, in an order that `salt` chooses.
pub(super) fn paging(
    sequences: &[Sequence],
    block_size: usize,
    num_blocks: usize,
    salt: usize,
) -> Paging {
    let mut free: Vec<u32> = (0..num_blocks as u32).collect();
    free.sort_by_key(|&block| (block as usize + salt).wrapping_mul(0x9E37_79B9) % 1009);
    let mut paging = Paging {
        block_size,
        table_starts: vec![0],
        ..Paging::default()
    };
    for (seq, sequence) in sequences.iter().enumerate() {
        let num_blocks = (sequence.context_len + 64).div_ceil(block_size);
        paging.block_tables.extend(free.drain(..num_blocks));
        paging.table_starts.push(paging.block_tables.len());
        paging.context_lens.push(sequence.context_len);
        let committed = (sequence.first..sequence.context_len).map(|position| (position, 1));
        let depth = |mask: u64| mask.count_ones() as usize - 1;
        let tree = sequence
            .tree
            .iter()
            .map(|&mask| (sequence.context_len + depth(mask), mask));
        for (position, mask) in committed.chain(tree) {
            paging.seqs.push(seq);
            paging.positions.push(position);
            paging.ancestors.push(mask);
        }
    }
    // A row writes where the last of its keys is found.
    paging.slots = (0..paging.num_rows())
        .map(|row| visible(&paging, row).last().map_or(0, |&slot| slot as u32))
        .collect();
    paging
}

/// A tree of 64 nodes, each under the one that its number halved names, and a chain.
pub(super) fn bush() -> Vec<u64> {
    let mut masks = vec![1_u64];
    for node in 1..64 {
        masks.push(masks[(node - 1) / 2] | 1 << node);
    }
    masks
}

pub(super) fn chain(len: usize) -> Vec<u64> {
    (1..=len).map(|len| u64::MAX >> (64 - len)).collect()
}

/// Cache slots of the keys that a row sees, straight from the definition.
pub(super) fn visible(paging: &Paging, row: usize) -> Vec<usize> {
    let seq = paging.seqs[row];
    let table = &paging.block_tables[paging.table_starts[seq]..paging.table_starts[seq + 1]];
    let size = paging.block_size;
    let physical = |slot: usize| table[slot / size] as usize * size + slot % size;
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

pub(super) fn only(paging: &Paging, start: usize, len: usize) -> Paging {
    let rows = start..start + len;
    Paging {
        seqs: paging.seqs[rows.clone()].to_vec(),
        positions: paging.positions[rows.clone()].to_vec(),
        ancestors: paging.ancestors[rows.clone()].to_vec(),
        slots: paging.slots[rows].to_vec(),
        ..paging.clone()
    }
}

/// Heads of a model: size, query heads, heads of keys and values.
pub(super) type Heads = (usize, usize, usize);

pub(super) fn attend(
    q: &Tensor,
    cache: &Tensor,
    paging: &Paging,
    (head_dim, heads, _): Heads,
) -> Tensor {
    written((paging.num_rows(), heads * head_dim), q.dtype(), |y| {
        paged_attention(q, cache, paging, head_dim, y)
    })
}

/// Attention in double precision, and by element the size of what was added up.
pub(super) fn exact(
    q: &Tensor,
    cache: &Tensor,
    paging: &Paging,
    heads: Heads,
) -> Vec<Vec<(f64, f64)>> {
    let (head_dim, heads, kv_heads) = heads;
    let (qs, kvs) = (wide(q), wide(cache));
    let row = |row: usize| {
        let slots = visible(paging, row);
        let head = |head: usize| {
            let (at, kv) = (head * head_dim, head / (heads / kv_heads) * head_dim);
            let score = |&slot: &usize| {
                let products = (0..head_dim).map(|d| qs[row][at + d] * kvs[slot][kv + d]);
                products.sum::<f64>() / (head_dim as f64).sqrt()
            };
            let scores: Vec<f64> = slots.iter().map(score).collect();
            let largest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            (0..head_dim)
                .map(|d| {
                    let value = |slot: usize| kvs[slot][kv_heads * head_dim + kv + d];
                    let terms: Vec<f64> = (slots.iter().zip(&weights))
                        .map(|(&slot, weight)| weight * value(slot) / total)
                        .collect();
                    (
                        terms.iter().sum(),
                        terms.iter().map(|term| term.abs()).sum(),
                    )
                })
                .collect::<Vec<(f64, f64)>>()
        };
        (0..heads).flat_map(head).collect()
    };
    (0..paging.num_rows()).map(row).collect()
}

const HEADS: [Heads; 6] = [
    (8, 4, 2),
    (5, 3, 1),
    (64, 2, 2),
    (24, 4, 1),
    (80, 7, 1),
    (128, 2, 1),
];

/// Prompts, trees over block boundaries and spans, contexts that end within both, and none at all.
pub(super) fn batch(block_size: usize) -> Paging {
    let sequences = [
        Sequence {
            context_len: 10,
            first: 0,
            tree: chain(1),
        },
        Sequence {
            context_len: 61,
            first: 61,
            tree: bush(),
        },
        Sequence {
            context_len: 0,
            first: 0,
            tree: chain(5),
        },
        Sequence {
            context_len: 150,
            first: 120,
            tree: chain(20),
        },
        Sequence {
            context_len: 1000,
            first: 1000,
            tree: bush(),
        },
    ];
    paging(&sequences, block_size, 1600 / block_size, 3)
}

#[test]
fn attention_mixes_the_values_of_the_keys_that_a_row_sees() {
    on_every_kind(|kind| {
        for dtype in DTYPES {
            let paging = batch(4);
            for heads in HEADS {
                let (head_dim, num_heads, kv_heads) = heads;
                let q = matrix(paging.num_rows(), num_heads * head_dim, 7, dtype);
                let cache = matrix(1600, 2 * kv_heads * head_dim, 8, dtype);
                let y = wide(&attend(&q, &cache, &paging, heads));
                let exact = exact(&q, &cache, &paging, heads);
                for (row, (y, exact)) in y.iter().zip(&exact).enumerate() {
                    for (y, (exact, size)) in y.iter().zip(exact) {
                        // Scores are up to 10^4 in size, so their rounding moves weights by up to 10^-3.
                        let bound = 2e-3 * size + 1.1 * unit_roundoff(dtype) * exact.abs() + 1e-30;
                        assert!(
                            (y - exact).abs() <= bound,
                            "{kind} {dtype:?} {heads:?} row {row}: {y} not {exact}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn a_row_is_the_same_in_any_company_and_wherever_its_keys_lie() {
    for dtype in DTYPES {
        for heads in HEADS {
            let (head_dim, num_heads, kv_heads) = heads;
            let paging = batch(4);
            let q = matrix(paging.num_rows(), num_heads * head_dim, 7, dtype);
            let cache = matrix(1600, 2 * kv_heads * head_dim, 8, dtype);
            same_in_any_company("paged_attention", paging.num_rows(), |start, len| {
                let q = q.narrow(0, start, len).unwrap();
                attend(&q, &cache, &only(&paging, start, len), heads)
            });
            let want = bits(&attend(&q, &cache, &paging, heads));
            for block_size in [1, 16] {
                // The same keys in other blocks of another size.
                let moved = batch(block_size);
                let mut rows: Vec<u32> = vec![0; 1600];
                for seq in 0..moved.context_lens.len() {
                    for slot in 0..moved.context_lens[seq] + 64 {
                        rows[moved.slot(seq, slot) as usize] = paging.slot(seq, slot);
                    }
                }
                let rows = Tensor::from_vec(rows, 1600, cache.device()).unwrap();
                let cache = cache.index_select(&rows, 0).unwrap();
                assert!(
                    bits(&attend(&q, &cache, &moved, heads)) == want,
                    "blocks of {block_size}"
                );
            }
        }
    }
}

#[test]
fn a_draft_row_is_the_same_when_it_is_committed() {
    // The last three of a chain's rows as nodes of a tree, as the rows of a prompt, and each as a root.
    let heads = (64, 4, 2);
    for dtype in DTYPES {
        let cache = matrix(400, 2 * 2 * 64, 8, dtype);
        let q = matrix(20, 4 * 64, 7, dtype);
        for context_len in [0, 40, 60, 63, 64, 130] {
            let sequence = |context_len, first, tree| {
                paging(
                    &[Sequence {
                        context_len,
                        first,
                        tree,
                    }],
                    4,
                    100,
                    0,
                )
            };
            let drafted = sequence(context_len, context_len, chain(20));
            let prompt = sequence(context_len + 19, context_len, chain(1));
            let want = bits(&attend(&q, &cache, &drafted, heads));
            assert!(
                bits(&attend(&q, &cache, &prompt, heads)) == want,
                "{context_len}"
            );
            for (row, want) in want.iter().enumerate() {
                let root = sequence(context_len + row, context_len + row, chain(1));
                let q = q.narrow(0, row, 1).unwrap();
                assert!(
                    bits(&attend(&q, &cache, &root, heads))[0] == *want,
                    "{context_len} {row}"
                );
            }
        }
    }
}

#[test]
fn what_is_no_number_is_seen_by_those_alone_that_see_it() {
    let (heads, dtype) = ((64, 4, 2), DType::BF16);
    let sequences = [
        Sequence {
            context_len: 70,
            first: 66,
            tree: bush(),
        },
        Sequence {
            context_len: 9,
            first: 9,
            tree: chain(3),
        },
    ];
    let paging = paging(&sequences, 4, 100, 1);
    let q = matrix(paging.num_rows(), 4 * 64, 7, dtype);
    let cache = matrix(400, 2 * 2 * 64, 8, dtype);
    let want = bits(&attend(&q, &cache, &paging, heads));
    for (seq, slot) in [(0, 70 + 2), (1, 4), (0, 69)] {
        let spoilt = cache.copy().unwrap();
        let bad = Tensor::full(f32::NAN, (1, 2 * 2 * 64), q.device()).unwrap();
        let slot = paging.slot(seq, slot);
        write_kv(&spoilt, &bad.to_dtype(dtype).unwrap(), &[slot]).unwrap();
        let got = bits(&attend(&q, &spoilt, &paging, heads));
        for row in 0..paging.num_rows() {
            if !visible(&paging, row).contains(&(slot as usize)) {
                assert!(got[row] == want[row], "row {row} of slot {slot}");
            }
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
        ..Paging::default()
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
