//! One target forward over all rows of the plan and its trees, and what the target keeps of them.

use std::time::{Duration, Instant};

use candle_core::{Result, Tensor};
use foretoken_draft::{Accepted, DraftTree, VerifiedRows, accept};
use foretoken_model::{
    Activations, Batch, BlockPool, BlockTable, KvCache, Llama, Logprobs, SequenceRows,
};

use crate::engine::budget::{Load, Prices};
use crate::engine::scheduler::{Plan, Scheduled};
use crate::engine::speech::speeches;

/// Rows of the forwards that are timed at start. A processor's tiles hold 16, and a second tile costs at once.
const SIZES: [usize; 11] = [1, 2, 4, 6, 8, 12, 16, 17, 24, 32, 64];

/// Contexts over which they are timed.
const SHORT_CONTEXT: usize = 64;
const LONG_CONTEXT: usize = 1024;

/// Rows of those over the long one.
const LONG_SIZES: [usize; 2] = [1, 16];

/// Times that each is timed, at most.
const MOST_ROUNDS: usize = 15;

/// The model that decides, and its cache.
#[derive(Debug)]
pub(crate) struct Target {
    llama: Llama,
    cache: KvCache,
    activations: Activations,
    block_size: usize,
    /// Whether tokens are drawn where the logits lie: they do not lie on the host.
    draws_ahead: bool,
}

/// What one forward gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// By rooted sequence: what was kept of its tree.
    pub(crate) accepted: Vec<Accepted>,
    /// By rooted sequence: of each token of the path and of the bonus token; empty where nobody asked.
    pub(crate) logprobs: Vec<Vec<Logprobs>>,
    /// The forward's input.
    pub(crate) batch: Batch,
    /// By scheduled sequence: its rows.
    pub(crate) rows: Vec<VerifiedRows>,
    /// After the final norm. `[rows, hidden]`
    pub(crate) hidden: Tensor,
    /// How long the forward took, and what was drawn ahead.
    pub(crate) forward: Duration,
}

impl Outcome {
    /// Rows of the forward.
    pub(crate) fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }
}

impl Target {
    pub(crate) fn new(llama: Llama, cache: KvCache, block_size: usize) -> Self {
        Self {
            activations: llama.activations(),
            draws_ahead: !llama.device().is_cpu(),
            llama,
            cache,
            block_size,
        }
    }

    /// See `Engine::draw_ahead`.
    pub(crate) fn draw_ahead(&mut self) {
        self.draws_ahead = true;
    }

    /// Takes memory for steps of so many rows.
    pub(crate) fn reserve(&mut self, num_rows: usize) -> Result<()> {
        self.activations.reserve(num_rows)
    }

    /// Times forwards of a few sizes over a short and a long context, in at most about `limit`. Overwrites the cache.
    pub(crate) fn measure_prices(
        &mut self,
        blocks: &mut BlockPool,
        limit: Duration,
    ) -> Result<Prices> {
        let deadline = Instant::now() + limit;
        let mut table = BlockTable::default();
        // The root and a level below it have to find a position, the largest tree its slots.
        let num_slots = blocks.num_blocks() * self.block_size;
        let room = num_slots.saturating_sub(DraftTree::MAX_NODES);
        let room = room.min(self.llama.num_positions().saturating_sub(2));
        let has_level_below = self.llama.num_positions() >= 2;
        let context_len = LONG_CONTEXT.min(room);
        if !has_level_below || !blocks.grow(&mut table, context_len + DraftTree::MAX_NODES) {
            return Ok(Prices::free());
        }
        let short = SIZES.map(|num_rows| (num_rows, SHORT_CONTEXT.min(room)));
        let long = LONG_SIZES.map(|num_rows| (num_rows, context_len));
        let num_long = match context_len > 2 * SHORT_CONTEXT {
            true => long.len(),
            false => 0,
        };
        let shapes = [&short[..], &long[..num_long]].concat();
        let measured = self.time_forwards(&table, &shapes, deadline)?;
        blocks.release(&mut table);
        let (short, long) = measured.split_at(measured.len().min(short.len()));
        Ok(Prices::measured(short, long))
    }

    /// Times forwards of such rows and contexts while there is time; of each the median. They are timed in turns, so
    /// that what else the machine does in between is in all of them.
    fn time_forwards(
        &mut self,
        table: &BlockTable,
        shapes: &[(usize, usize)],
        deadline: Instant,
    ) -> Result<Vec<(Load, Duration)>> {
        let mut times = vec![Vec::new(); shapes.len()];
        // The first forward finds nothing in its place.
        let mut latest = self.time_forward(table, shapes[0])?;
        'measuring: for _ in 0..MOST_ROUNDS {
            for (&shape, times) in shapes.iter().zip(&mut times) {
                // The next shape takes twice as long at worst, and the first of a round less.
                if Instant::now() + 2 * latest > deadline {
                    break 'measuring;
                }
                latest = self.time_forward(table, shape)?;
                times.push(latest);
                if Instant::now() > deadline {
                    break 'measuring;
                }
            }
        }
        let measured = shapes.iter().zip(times).filter_map(|(&shape, mut times)| {
            times.sort_unstable();
            let (num_rows, context_len) = shape;
            let load = Load {
                num_rows,
                num_row_keys: num_rows * (context_len + 1),
                num_keys: context_len + 1,
            };
            Some((load, *times.get(times.len() / 2)?))
        });
        Ok(measured.collect())
    }

    fn time_forward(
        &mut self,
        table: &BlockTable,
        (num_rows, context_len): (usize, usize),
    ) -> Result<Duration> {
        // All nodes are children of the root.
        let masks: Vec<u64> = (1..num_rows).map(|node| 1 | 1 << node).collect();
        let tokens = vec![0; num_rows];
        let mut batch = Batch::new(self.block_size);
        batch.push(SequenceRows {
            table,
            context_len,
            start: context_len,
            tokens: &tokens[..1],
            first_node: 1,
            draft_tokens: &tokens[1..],
            ancestors: &masks,
        });
        let started = Instant::now();
        self.llama
            .forward(&batch, &mut self.cache, &mut self.activations)?;
        self.llama.device().synchronize()?;
        Ok(started.elapsed())
    }

    /// Computes the plan's rows and the trees' nodes, and follows the target down each tree.
    pub(crate) fn verify(&mut self, plan: &mut Plan, trees: &[DraftTree]) -> Result<Outcome> {
        let mut batch = Batch::new(self.block_size);
        let mut rows = Vec::with_capacity(plan.scheduled.len());
        let mut next_tree = trees.iter();
        for scheduled in &plan.scheduled {
            let tree = scheduled.reaches_root().then(|| next_tree.next()).flatten();
            let first = batch.num_rows();
            batch.push(sequence_rows(scheduled, tree));
            rows.push(VerifiedRows {
                seq: scheduled.sequence.id,
                rows: first..batch.num_rows(),
                last_kept: first + scheduled.num_rows - 1,
            });
        }
        let started = Instant::now();
        let output = self
            .llama
            .forward(&batch, &mut self.cache, &mut self.activations)?;
        let rooted: Vec<_> = (plan.scheduled.iter())
            .filter(|scheduled| scheduled.reaches_root())
            .map(|scheduled| &scheduled.sequence)
            .zip(trees)
            .collect();
        let speeches = speeches(&output.logits, &rooted, self.draws_ahead)?;
        self.llama.device().synchronize()?;
        let forward = started.elapsed();

        let rooted = (plan.scheduled.iter_mut().zip(&mut rows))
            .filter(|(scheduled, _)| scheduled.reaches_root());
        let (mut accepted, mut logprobs) = (Vec::new(), Vec::new());
        for (((scheduled, rows), tree), speech) in rooted.zip(trees).zip(speeches) {
            let mut told = Vec::new();
            let kept = accept(tree, |node| {
                let (token, logprobs) = speech.sample(tree, node, &mut scheduled.sequence);
                told.extend(logprobs);
                token
            });
            rows.last_kept += kept.path.last().copied().unwrap_or(DraftTree::ROOT);
            accepted.push(kept);
            logprobs.push(told);
        }
        Ok(Outcome {
            accepted,
            logprobs,
            batch,
            rows,
            hidden: output.hidden,
            forward,
        })
    }

    /// Moves the cache rows of an accepted path to the front, behind the context.
    pub(crate) fn keep(
        &mut self,
        table: &BlockTable,
        context_len: usize,
        path: &[usize],
    ) -> Result<()> {
        let physical = |slot| table.physical(context_len + slot, self.block_size);
        let moves: Vec<(u32, u32)> = (path.iter().enumerate())
            .filter(|&(place, &node)| place != node)
            .map(|(place, &node)| (physical(node), physical(place)))
            .collect();
        self.cache.move_rows(&moves)
    }
}

fn sequence_rows<'a>(scheduled: &'a Scheduled, tree: Option<&'a DraftTree>) -> SequenceRows<'a> {
    let sequence = &scheduled.sequence;
    let start = sequence.num_computed;
    SequenceRows {
        table: &sequence.table,
        context_len: sequence.context_len(),
        start,
        tokens: &sequence.tokens[start..start + scheduled.num_rows],
        first_node: 1,
        draft_tokens: tree.map_or(&[], |tree| &tree.tokens()[1..]),
        ancestors: tree.map_or(&[], |tree| &tree.ancestors()[1..]),
    }
}
