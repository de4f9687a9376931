//! A request in the engine.

use std::sync::Arc;
use std::time::Instant;

use foretoken_draft::{Context, DraftTree, Finished, Hints, Node};
use foretoken_model::{BlockTable, RowSampling, Sampler, SeqId, Token};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::engine::budget::{Ask, Candidate};
use crate::request::{Event, Request, Speculation, Stats, Stopping};

/// Who goes first: the lower place in the line, then the older sequence. It never changes, and a place beyond any given
/// one comes up, so nobody is overtaken for ever.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Rank {
    place: i64,
    seq: SeqId,
}

impl Rank {
    /// How many later requests a request lets pass for each level that its priority lies below theirs.
    const REQUESTS_PER_LEVEL: i64 = 1000;

    /// The place of the sequence that came after `seq` others.
    fn new(priority: i32, seq: SeqId) -> Self {
        let arrival = i64::try_from(seq.0).unwrap_or(i64::MAX);
        let handicap = i64::from(priority) * Self::REQUESTS_PER_LEVEL;
        Self {
            place: arrival.saturating_add(handicap),
            seq,
        }
    }
}

/// A request in the engine: there are no phases, only tokens that are computed and tokens that are not yet.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SeqId,
    /// Prompt and output, all committed.
    pub(crate) tokens: Vec<Token>,
    /// Tokens from the front on whose keys and values are in the cache. Always fewer than there are tokens.
    pub(crate) num_computed: usize,
    /// Where those lie.
    pub(crate) table: BlockTable,
    pub(crate) sampler: Sampler,
    pub(crate) stopping: Stopping,
    pub(crate) speculation: Speculation,
    pub(crate) stats: Stats,
    /// As [`Request`] has it.
    prediction: Arc<[Token]>,
    /// As [`Request`] has it.
    pub(crate) logprobs: Option<usize>,
    /// Blocks are shared among sequences of one salt.
    pub(crate) cache_salt: Option<Arc<str>>,
    rank: Rank,
    events: mpsc::Sender<Event>,
    num_prompt_tokens: usize,
    scheduled_at: Option<Instant>,
    first_token_at: Option<Instant>,
    /// Lets the next request in when the sequence is gone.
    _permit: OwnedSemaphorePermit,
}

impl Sequence {
    pub(crate) fn new(id: SeqId, request: Request) -> Self {
        Self {
            id,
            num_prompt_tokens: request.prompt.len(),
            sampler: Sampler::new(request.sampling, &request.prompt),
            tokens: request.prompt,
            num_computed: 0,
            table: BlockTable::default(),
            stopping: request.stopping,
            speculation: request.speculation,
            stats: Stats::default(),
            prediction: request.prediction,
            logprobs: request.logprobs,
            cache_salt: request.cache_salt,
            rank: Rank::new(request.priority, id),
            events: request.events,
            scheduled_at: None,
            first_token_at: None,
            _permit: request.permit,
        }
    }

    /// Its place among others.
    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    /// Position of the tree's root: the last committed token.
    pub(crate) fn context_len(&self) -> usize {
        self.tokens.len() - 1
    }

    /// Position of what the target says after a node of a tree of this sequence.
    pub(crate) fn position_after(&self, tree: &DraftTree, node: Node) -> usize {
        self.context_len() + tree.depth(node) + 1
    }

    /// How the token at a position is drawn where the logits lie; none if it takes more than a row of them, or if the
    /// logits are wanted too.
    pub(crate) fn row_sampling(&self, position: usize) -> Option<RowSampling> {
        match self.logprobs {
            None => self.sampler.row_sampling(position),
            Some(_) => None,
        }
    }

    /// Committed tokens that are still to be computed, at least 1.
    pub(crate) fn num_pending(&self) -> usize {
        self.tokens.len() - self.num_computed
    }

    /// Tokens that may still be emitted.
    pub(crate) fn num_left(&self) -> usize {
        self.stopping.max_tokens - (self.tokens.len() - self.num_prompt_tokens)
    }

    /// Slots that a step needs which computes all that is pending and the largest tree.
    pub(crate) fn num_slots_wanted(&self) -> usize {
        self.context_len() + DraftTree::MAX_NODES
    }

    /// True if nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// What the budget sees.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate {
            seq: self.id,
            drafter: self.speculation.drafter,
            is_greedy: self.sampler.params().is_greedy(),
            is_first: self.tokens.len() == self.num_prompt_tokens,
            context_len: self.context_len(),
            min_draft_tokens: self.speculation.min_draft_tokens,
        }
    }

    /// What a drafter may see that is asked for so much.
    pub(crate) fn context(&self, asked: Ask) -> Context<'_> {
        // The bonus token behind the deepest node has to fit as well.
        let max_draft_depth = self.speculation.max_draft_depth.min(self.num_left() - 1);
        let max_draft_tokens = match max_draft_depth {
            0 => 0,
            _ => self
                .speculation
                .max_draft_tokens
                .min(asked.num_draft_tokens),
        };
        Context {
            seq: self.id,
            tokens: &self.tokens,
            table: &self.table,
            sampling: self.sampler.params(),
            max_draft_tokens,
            max_draft_depth,
            costs: asked.costs,
            hints: Hints {
                prediction: &self.prediction,
                num_prompt_tokens: self.num_prompt_tokens,
                cache_salt: self.cache_salt.as_deref(),
            },
        }
    }

    /// What a drafter may see when nothing more comes.
    pub(crate) fn finished(&self) -> Finished<'_> {
        Finished {
            tokens: &self.tokens,
            num_prompt_tokens: self.num_prompt_tokens,
            cache_salt: self.cache_salt.as_deref(),
        }
    }

    /// Notes that it runs from now on, and how much of it was in the cache already.
    pub(crate) fn mark_started(&mut self, num_cached: usize) {
        self.num_computed = num_cached;
        // What a preempted sequence finds again are its own blocks, which nobody was spared.
        if self.scheduled_at.is_none() {
            self.stats.num_cached_tokens = num_cached;
        }
    }

    /// Notes that rows of it are computed from now on.
    pub(crate) fn mark_scheduled(&mut self) {
        self.scheduled_at.get_or_insert_with(Instant::now);
    }

    /// Counts the time until now as time to the first token, or as decoding if that is out.
    pub(crate) fn mark_token(&mut self) {
        let now = Instant::now();
        let first = *self.first_token_at.get_or_insert(now);
        self.stats.prefill = first - self.scheduled_at.unwrap_or(first);
        self.stats.decode = now - first;
    }

    /// Sends an event; false if nobody waits for it.
    pub(crate) fn send(&self, event: Event) -> bool {
        // The channel has room for every event there can be, so it is closed if it takes no more.
        self.events.try_send(event).is_ok()
    }
}
