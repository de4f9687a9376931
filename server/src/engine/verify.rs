//! One target forward over all rows of the plan and its trees, and what the target keeps of them.

mod profile;

use std::time::{Duration, Instant};

use candle_core::{Result, Tensor};
use foretoken_draft::{Accepted, DraftTree, VerifiedRows, accept};
use foretoken_model::{Activations, Batch, BlockTable, KvCache, Llama, Logprobs, SequenceRows};

use crate::engine::scheduler::{Plan, Scheduled};
use crate::engine::speech::speeches;

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
