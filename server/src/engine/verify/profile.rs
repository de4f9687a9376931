//! What forwards take on this machine, by their rows and contexts.

use std::time::{Duration, Instant};

use candle_core::Result;
use foretoken_draft::DraftTree;
use foretoken_model::{Batch, BlockPool, BlockTable, SequenceRows};

use super::Target;
use crate::engine::budget::{Load, Prices};

/// Rows of the forwards that are timed at start. A processor's tiles hold 16, and a second tile costs at once.
const SIZES: [usize; 11] = [1, 2, 4, 6, 8, 12, 16, 17, 24, 32, 64];

/// Rows of one more, of several trees: what many sequences and their drafts come to.
const MANY_ROWS: usize = 256;

/// Contexts over which they are timed.
const SHORT_CONTEXT: usize = 64;
const LONG_CONTEXT: usize = 1024;

/// Rows of those over the long one.
const LONG_SIZES: [usize; 2] = [1, 16];

/// Times that each is timed, at most.
const MOST_ROUNDS: usize = 15;

impl Target {
    /// Times forwards of a few sizes, none beyond `most_rows`, over a short and a long context, in at most about
    /// `limit`. Overwrites the cache.
    pub(crate) fn measure_prices(
        &mut self,
        blocks: &mut BlockPool,
        most_rows: usize,
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
        let short_context = SHORT_CONTEXT.min(room);
        let short = SIZES.map(|num_rows| (num_rows, short_context));
        let long = LONG_SIZES.map(|num_rows| (num_rows, context_len));
        let num_long = match context_len > 2 * SHORT_CONTEXT {
            true => long.len(),
            false => 0,
        };
        let many = MANY_ROWS
            .min(most_rows)
            .min(context_len.saturating_sub(short_context));
        let many = (many > SIZES[SIZES.len() - 1]).then_some((many, short_context));
        // The dearest come last, so that time is spent on the others first.
        let shapes: Vec<_> = short
            .into_iter()
            .chain(long.into_iter().take(num_long))
            .chain(many)
            .collect();
        let mut short = self.time_forwards(&table, &shapes, deadline)?;
        blocks.release(&mut table);
        let mut long = short.split_off(short.len().min(SIZES.len()));
        short.extend(long.split_off(long.len().min(num_long)));
        Ok(Prices::measured(&short, &long))
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
            Some((load_of(shape), *times.get(times.len() / 2)?))
        });
        Ok(measured.collect())
    }

    fn time_forward(&mut self, table: &BlockTable, shape: (usize, usize)) -> Result<Duration> {
        let tokens = [0; DraftTree::MAX_NODES];
        // All nodes are children of the root.
        let masks: Vec<u64> = (1..tokens.len()).map(|node| 1 | 1 << node).collect();
        let mut batch = Batch::new(self.block_size);
        for (num_rows, context_len) in trees_of(shape) {
            batch.push(SequenceRows {
                table,
                context_len,
                start: context_len,
                tokens: &tokens[..1],
                first_node: 1,
                draft_tokens: &tokens[1..num_rows],
                ancestors: &masks[..num_rows - 1],
            });
        }
        let started = Instant::now();
        self.llama
            .forward(&batch, &mut self.cache, &mut self.activations)?;
        self.llama.device().synchronize()?;
        Ok(started.elapsed())
    }
}

/// The trees of a forward of so many rows over a context, each with a context of its own: they share a table, and one
/// lies behind the other.
fn trees_of((num_rows, context_len): (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    let most = DraftTree::MAX_NODES;
    (0..num_rows)
        .step_by(most)
        .map(move |first| (most.min(num_rows - first), context_len + first))
}

fn load_of(shape: (usize, usize)) -> Load {
    let mut load = Load::default();
    for (num_rows, context_len) in trees_of(shape) {
        load.num_rows += num_rows;
        load.num_row_keys += num_rows * (context_len + 1);
        load.num_keys += context_len + 1;
    }
    load
}
