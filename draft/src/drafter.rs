//! Who guesses: the trait, and what a drafter may see.

use std::ops::Range;

use candle_core::{Result, Tensor};
use foretoken_model::{Batch, BlockTable, KvCache, KvShape, SamplingParams, SeqId, Token};

use crate::tree::DraftTree;

/// Proposes draft trees. It can cost speed and nothing else: wrong, behind, empty-handed or NaN, the text is the same.
pub trait Drafter: Send {
    /// Its name on flags, wires and metrics.
    fn name(&self) -> &'static str;

    /// What it keeps of every token in the engine's cache: extra layers under the sequences' own block tables, so that
    /// moving, sharing and preemption apply to them as to the target's.
    fn layers(&self) -> Option<KvShape> {
        None
    }

    /// Gives it those layers, before anything else is asked of it.
    fn attach(&mut self, _layers: KvCache) {}

    /// Bytes that it takes for each row of a step, beside its weights and layers.
    fn row_bytes(&self) -> usize {
        0
    }

    /// Takes a device's memory for steps of so many rows now, so that none is looked for later.
    fn reserve(&mut self, _num_rows: usize) -> Result<()> {
        Ok(())
    }

    /// One tree per context, in order. A tree of the root alone means plain decoding.
    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>>;

    /// After every target forward, prefill included, whoever drafts for its sequences: what it computed. Layers that are
    /// made of it are written here, for all rows, so that a prefix that is found again has them.
    fn observe(&mut self, _verified: &Verified<'_>) -> Result<()> {
        Ok(())
    }

    /// A sequence has said its last token.
    fn finished(&mut self, _finished: &Finished<'_>) {}

    /// The sequence has finished, was cancelled, or was preempted.
    fn forget(&mut self, _seq: SeqId) {}

    /// No more comes: the last call. Saves what is to be known at the next start.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a drafter may see of a sequence when it proposes.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Whose tokens these are. The same id may come back after `forget`, with the same tokens before it or more.
    pub seq: SeqId,
    /// Prompt and output, all committed; never empty. The tree's root is the last one.
    pub tokens: &'a [Token],
    /// The sequence's blocks. Where the drafter has layers, they reach the slots of everything committed and of
    /// [`DraftTree::MAX_NODES`] nodes behind, which a drafter may write what it likes to: verifying overwrites them.
    pub table: &'a BlockTable,
    /// The request's sampler: temperature, filters, and the seed of the noise that the target will use. The token
    /// after `tokens` is drawn with the noise of position `tokens.len()`.
    pub sampling: &'a SamplingParams,
    /// Nodes beside the root that may be proposed, at most 63.
    pub max_draft_tokens: usize,
    /// Levels below the root that may be proposed.
    pub max_draft_depth: usize,
    /// What drafting costs here.
    pub costs: Costs,
    /// What else its request states.
    pub hints: Hints<'a>,
}

impl Context<'_> {
    /// The tree's root: the last committed token.
    pub fn root(&self) -> Token {
        self.tokens[self.tokens.len() - 1]
    }
}

/// What drafting costs, in tokens that would come in the same time without it. Nothing, where it is not to be regarded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// A level of a tree that takes a forward of the drafter's own.
    pub level: f32,
    /// A node that is verified.
    pub node: f32,
}

/// What a request states that may help to guess. Without any, drafters go by the tokens alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// What the client expects to be said; empty if nothing.
    pub prediction: &'a [Token],
    /// Tokens of the prompt, which stands before the output.
    pub num_prompt_tokens: usize,
    /// What is learnt of a sequence may be used for others of the same salt alone.
    pub cache_salt: Option<&'a str>,
}

/// A sequence that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// Prompt and output.
    pub tokens: &'a [Token],
    /// Tokens of the prompt.
    pub num_prompt_tokens: usize,
    /// As [`Hints`] has it.
    pub cache_salt: Option<&'a str>,
}

/// What one target forward computed.
#[derive(Debug)]
pub struct Verified<'a> {
    /// Its input: tokens, slots and positions of all rows.
    pub batch: &'a Batch,
    /// The rows of each sequence, in the batch's order.
    pub rows: &'a [VerifiedRows],
    /// After the final norm, all rows. `[rows, hidden]`
    pub hidden: &'a Tensor,
}

/// One sequence's share of a forward.
#[derive(Clone, Debug)]
pub struct VerifiedRows {
    /// Whose rows.
    pub seq: SeqId,
    /// Its rows in the batch: committed tokens first, then the tree's nodes beside the root.
    pub rows: Range<usize>,
    /// The row of its last token that is kept: of the accepted path's last node, or else of its last committed token.
    pub last_kept: usize,
}
