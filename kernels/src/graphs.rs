//! `Graphs`: what a step launches, recorded by a GPU at the first of its kind and replayed at those after it.
//!
//! Steps are filled up to the rows of a bucket, and attention to a number of blocks, so that few kinds serve all steps:
//! two of the same [`Key`] make the same launches, to the last argument. What differs lies in memory that is kept.

use candle_core::{Device, Result, Tensor};

#[cfg(any(feature = "cuda", test))]
use crate::linear::launches::MOST_ROWS as TILE;
#[cfg(any(feature = "cuda", test))]
use crate::paged_attention::plan::Plan;
use crate::paging::Paging;

/// The steps that were recorded. By default none ever is.
#[derive(Debug, Default)]
pub struct Graphs {
    #[cfg(feature = "cuda")]
    there: Option<crate::cuda::Graphs>,
}

/// Tensors that all steps have in common. Recorded steps are good for these very ones.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// A layer of the cache; all have as many slots. `[slots, ..]`
    pub cache: &'a Tensor,
    /// The model's cosines, for the positions that rows may have. `[positions, ..]`
    pub angles: &'a Tensor,
    /// A buffer that the rows go through. `[rows, ..]`
    pub rows: &'a Tensor,
}

impl Graphs {
    /// For steps on this device, which are recorded if it is a GPU.
    pub fn new(device: &Device) -> Self {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            return Self {
                there: Some(crate::cuda::Graphs::new(device)),
            };
        }
        let _ = device;
        Self::default()
    }

    /// Makes a step: calls `step` with the batch, or replays what it launched for another.
    ///
    /// On a GPU `step` is called with the batch filled up, the first time twice, and what it does has to be ops of this
    /// crate, on tensors that it finds again each time. Buffers need room for as many rows as the next power of two.
    pub fn run(
        &mut self,
        paging: &Paging,
        common: Common<'_>,
        step: impl Fn(&Paging) -> Result<()>,
    ) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(there) = &mut self.there {
            return there.run(paging, common, step);
        }
        let _ = common;
        step(paging)
    }

    /// How many steps are recorded.
    #[cfg(all(test, feature = "cuda"))]
    pub(crate) fn len(&self) -> usize {
        self.there.as_ref().map_or(0, crate::cuda::Graphs::len)
    }
}

/// Rows of the largest step that is recorded: beyond it, launches take less time than what they start.
#[cfg(any(feature = "cuda", test))]
const MOST_ROWS: usize = 512;

/// Rows that a step of so many is filled up to, if it is to be recorded: a power of two, or whole tiles of `linear`,
/// which then computes no tile more than it would anyway.
#[cfg(any(feature = "cuda", test))]
pub(crate) fn bucket(num_rows: usize) -> Option<usize> {
    match num_rows {
        0 => None,
        1..TILE => Some(num_rows.next_power_of_two()),
        TILE..=MOST_ROWS => Some(num_rows.next_multiple_of(TILE)),
        _ => None,
    }
}

/// What a step's launches follow from, apart from addresses.
#[cfg(any(feature = "cuda", test))]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    num_rows: usize,
    /// Blocks of attention. Were they to follow from the rows alone, there would be enough for the longest context.
    num_blocks: usize,
    /// Whether attention has a second launch.
    folds: bool,
    block_size: usize,
}

#[cfg(any(feature = "cuda", test))]
impl Key {
    pub(crate) fn new(paging: &Paging, plan: &Plan) -> Self {
        Self {
            num_rows: plan.rows.len(),
            num_blocks: plan.num_blocks,
            folds: plan.folds,
            block_size: paging.block_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use candle_core::DType;

    use super::*;
    use crate::linear::launches;
    use crate::paged_attention::Shape;
    use crate::paged_attention::args::Kernel;

    fn tiles(num_rows: usize) -> usize {
        let shape = launches::Shape {
            dtype: DType::BF16,
            num_rows,
            num_inputs: 4096,
            num_outputs: 4096,
            is_aligned: true,
        };
        shape.num_tiles()
    }

    #[test]
    fn a_bucket_holds_the_rows_and_costs_no_tile_more() {
        let mut buckets = HashSet::new();
        for num_rows in 1..=MOST_ROWS {
            let filled_up = bucket(num_rows).unwrap();
            assert!((num_rows..=num_rows.next_power_of_two()).contains(&filled_up));
            assert_eq!(tiles(filled_up), tiles(num_rows), "{num_rows}");
            assert_eq!(bucket(filled_up), Some(filled_up));
            buckets.insert(filled_up);
        }
        assert_eq!(buckets.len(), 14);
        assert!((0..10).all(|power| buckets.contains(&(1 << power))));
        assert_eq!((bucket(0), bucket(MOST_ROWS + 1)), (None, None));
    }

    /// Sequences of so many committed tokens, whose next rows are chains in a tree.
    fn batch(sequences: &[(usize, usize)]) -> Paging {
        let mut paging = Paging {
            block_size: 16,
            table_starts: vec![0],
            ..Paging::default()
        };
        for (seq, &(context_len, num_rows)) in sequences.iter().enumerate() {
            let blocks = 0..(context_len + 64).div_ceil(16) as u32;
            paging.block_tables.extend(blocks);
            paging.table_starts.push(paging.block_tables.len());
            paging.context_lens.push(context_len);
            for depth in 0..num_rows {
                paging.seqs.push(seq);
                paging.positions.push(context_len + depth);
                paging.ancestors.push(u64::MAX >> (63 - depth));
                paging.slots.push((context_len + depth) as u32);
            }
        }
        paging
    }

    const SHAPE: Shape = Shape {
        head_dim: 128,
        kv_heads: 8,
        group: 4,
    };

    /// A step's plan, as it is recorded and replayed.
    fn planned(paging: &Paging) -> (Paging, Kernel, Plan) {
        let padded = paging.padded(bucket(paging.num_rows()).unwrap());
        let kernel = Kernel::new(DType::BF16, SHAPE, true).unwrap();
        let mut plan = Plan::new(&padded, kernel.num_queries(), SHAPE.group);
        plan.round_up();
        (padded, kernel, plan)
    }

    #[test]
    fn steps_of_one_key_make_the_same_launches() {
        let mut seen = HashMap::new();
        for num_seqs in [1, 2, 3, 7, 16] {
            for context_len in [0, 1, 63, 200, 255, 256, 257, 700, 3000, 20_000] {
                for num_rows in [1, 2, 5, 12, 32] {
                    let sequences: Vec<_> = (0..num_seqs)
                        .map(|seq| (context_len + 100 * seq, num_rows))
                        .collect();
                    let paging = batch(&sequences);
                    let (padded, kernel, plan) = planned(&paging);
                    assert!((plan.items.len()..2 * plan.items.len()).contains(&plan.num_blocks));
                    let launches = (
                        kernel.launch(SHAPE, &plan),
                        kernel.folds(&plan),
                        Kernel::fold(SHAPE, plan.rows.len()),
                        [plan.items_start(), plan.rows_start(), plan.blocks_start()],
                        padded.columns().len(),
                    );
                    let key = Key::new(&padded, &plan);
                    assert_eq!(*seen.entry(key).or_insert(launches), launches, "{key:?}");
                }
            }
        }
    }

    #[test]
    fn a_context_that_grows_is_recorded_anew_when_it_has_doubled() {
        let keys: HashSet<Key> = (0..32_768)
            .step_by(17)
            .map(|context_len| {
                let (padded, _, plan) = planned(&batch(&[(context_len, 5)]));
                Key::new(&padded, &plan)
            })
            .collect();
        assert!(keys.len() <= 10, "{}", keys.len());
    }

    #[test]
    fn what_fills_up_is_written_nowhere_and_gets_no_block() {
        let paging = batch(&[(300, 3), (20, 8)]);
        let (padded, kernel, plan) = planned(&paging);
        assert_eq!((padded.num_rows(), plan.rows.len()), (16, 16));
        assert_eq!(padded.slots[11..], [u32::MAX; 5]);
        assert_eq!(padded.columns()[11..16], [0; 5]);
        padded.check(400).unwrap();
        let exact = Plan::new(&paging, kernel.num_queries(), SHAPE.group);
        assert_eq!(plan.items, exact.items);
        assert_eq!(plan.rows[..11], exact.rows);
        // The second launch finds nothing to add up for them.
        for row in &plan.rows[11..] {
            assert_eq!((row.position, row.num_splits(), row.lead), (0, 1, 1));
        }
        // What is uploaded: items, then rows, each where launches look for it.
        let words = plan.words(&padded.block_tables);
        assert_eq!(words[0] as usize, exact.items.len());
        assert_eq!(words[plan.blocks_start()..], padded.block_tables);
        assert_eq!(words[plan.rows_start() + 2] as usize, paging.positions[0]);
    }
}
