//! Who runs in a step, and how many rows each.

use std::collections::BTreeMap;

use foretoken_draft::Context;
use foretoken_model::{BlockPool, SeqId};

use crate::engine::budget::{Ask, Load, Step};
use crate::engine::sequence::{Rank, Sequence};

/// How much a step may hold.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Sequences that run at the same time.
    pub max_num_seqs: usize,
    /// Rows of a step: prompts and decodes, then drafts.
    pub max_num_batched_tokens: usize,
    /// Rows of one sequence's committed tokens in a step.
    pub max_prefill_chunk: usize,
    /// Full blocks stay in the cache for sequences that begin alike.
    pub enable_prefix_caching: bool,
}

/// Sequences that run or wait, by rank: age, put back or forward by priority. Those that run stand before those that wait,
/// so nobody starves.
#[derive(Debug)]
pub(crate) struct Scheduler {
    options: SchedulerOptions,
    waiting: BTreeMap<Rank, Sequence>,
    running: BTreeMap<Rank, Sequence>,
}

/// Who runs in this step. The sequences are the plan's until `commit` gives them back.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) scheduled: Vec<Scheduled>,
    /// Sequences that lost what the cache held of them: abandoned or preempted.
    pub(crate) forgotten: Vec<SeqId>,
    /// How many of those were preempted.
    pub(crate) num_preempted: usize,
    /// Rows that are left for draft tokens.
    pub(crate) num_draft_rows: usize,
}

/// A sequence and how many of its committed tokens this step computes.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub(crate) sequence: Sequence,
    pub(crate) num_rows: usize,
}

impl Scheduled {
    /// True if the rows reach the last committed token, so that a tree may follow and a token comes out.
    pub(crate) fn reaches_root(&self) -> bool {
        self.num_rows == self.sequence.num_pending()
    }
}

impl Plan {
    /// Those whose rows reach their root, which are those that get a tree.
    pub(crate) fn rooted(&self) -> impl Iterator<Item = &Sequence> {
        self.scheduled
            .iter()
            .filter(|scheduled| scheduled.reaches_root())
            .map(|scheduled| &scheduled.sequence)
    }

    /// What the budget sees.
    pub(crate) fn step(&self) -> Step {
        let mut load = Load::default();
        for Scheduled { sequence, num_rows } in &self.scheduled {
            let num_keys = sequence.num_computed + num_rows;
            load.num_rows += num_rows;
            load.num_row_keys += num_rows * (sequence.num_computed + num_keys + 1) / 2;
            load.num_keys += num_keys;
        }
        Step {
            candidates: self.rooted().map(Sequence::candidate).collect(),
            load,
            num_draft_rows: self.num_draft_rows,
        }
    }

    /// What the drafters see: by rooted sequence, who shall draft, how much at most, and from what.
    pub(crate) fn contexts(&self, asked: &[Ask]) -> Vec<(Option<&'static str>, Context<'_>)> {
        (self.rooted().zip(asked))
            .map(|(sequence, &asked)| (sequence.speculation.drafter, sequence.context(asked)))
            .collect()
    }
}

impl Scheduler {
    pub(crate) fn new(options: SchedulerOptions) -> Self {
        Self {
            options,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Takes a sequence in, behind all that came before it with its priority or an earlier one.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        self.waiting.insert(sequence.rank(), sequence);
    }

    /// Takes a scheduled sequence back.
    pub(crate) fn resume(&mut self, sequence: Sequence) {
        self.running.insert(sequence.rank(), sequence);
    }

    /// Sequences that hold blocks, those of a running plan aside.
    pub(crate) fn num_running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait for blocks.
    pub(crate) fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True if there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Rows that a step holds at most.
    pub(crate) fn most_rows(&self) -> usize {
        self.options.max_num_batched_tokens
    }

    /// Decides who runs: those that run already, by rank, then those that wait while there is room.
    pub(crate) fn plan(&mut self, blocks: &mut BlockPool) -> Plan {
        let mut plan = Plan::default();
        self.drop_abandoned(blocks, &mut plan);
        self.reserve(blocks, &mut plan);
        self.admit(blocks, &mut plan);

        // Every sequence that decodes gets its one row, so that no prompt holds up those that already answer.
        let num_decodes = self
            .running
            .values()
            .filter(|sequence| sequence.num_pending() == 1)
            .count();
        let mut num_prompt_rows = self
            .options
            .max_num_batched_tokens
            .saturating_sub(num_decodes);
        for (rank, mut sequence) in std::mem::take(&mut self.running) {
            let num_rows = match sequence.num_pending() {
                1 => 1,
                pending => pending
                    .min(self.options.max_prefill_chunk)
                    .min(num_prompt_rows),
            };
            if num_rows == 0 {
                self.running.insert(rank, sequence);
                continue;
            }
            if sequence.num_pending() > 1 {
                num_prompt_rows -= num_rows;
            }
            sequence.mark_scheduled();
            plan.scheduled.push(Scheduled { sequence, num_rows });
        }
        plan.num_draft_rows = num_prompt_rows;
        plan
    }

    /// Frees those whose client is gone, waiting ones too.
    fn drop_abandoned(&mut self, blocks: &mut BlockPool, plan: &mut Plan) {
        let mut stays = |_: &Rank, sequence: &mut Sequence| {
            let stays = !sequence.is_abandoned();
            if !stays {
                blocks.release(&mut sequence.table);
                plan.forgotten.push(sequence.id);
            }
            stays
        };
        self.running.retain(&mut stays);
        self.waiting.retain(&mut stays);
    }

    /// Gives every running sequence the slots of this step, the slack for its tree included. Where blocks run out, the
    /// last by rank gives all of its own; the first always goes on.
    fn reserve(&mut self, blocks: &mut BlockPool, plan: &mut Plan) {
        let ranks: Vec<Rank> = self.running.keys().copied().collect();
        for rank in ranks {
            while let Some(sequence) = self.running.get_mut(&rank) {
                let num_slots = sequence.num_slots_wanted();
                if blocks.grow(&mut sequence.table, num_slots) {
                    break;
                }
                self.preempt_last(blocks, plan);
            }
        }
    }

    /// Starts those that wait, by rank, while their prompts and trees find room. Running ones of a later rank make room
    /// for them.
    fn admit(&mut self, blocks: &mut BlockPool, plan: &mut Plan) {
        while let Some((rank, mut sequence)) = self.waiting.pop_first() {
            let has_place = self.running.len() < self.options.max_num_seqs;
            if has_place && start(&mut sequence, blocks) {
                self.running.insert(rank, sequence);
                continue;
            }
            self.waiting.insert(rank, sequence);
            let last = self.running.last_key_value();
            if last.is_none_or(|(&last, _)| last < rank) {
                return;
            }
            self.preempt_last(blocks, plan);
        }
    }

    /// Takes everything from the running sequence that is last by rank. It waits to be computed again, as far as its
    /// blocks are not in the cache any more.
    fn preempt_last(&mut self, blocks: &mut BlockPool, plan: &mut Plan) {
        if let Some((rank, mut sequence)) = self.running.pop_last() {
            blocks.release(&mut sequence.table);
            sequence.num_computed = 0;
            plan.forgotten.push(sequence.id);
            plan.num_preempted += 1;
            self.waiting.insert(rank, sequence);
        }
    }
}

/// Gives a sequence its slots, and what of it is in the cache already; nothing and false if blocks are lacking.
fn start(sequence: &mut Sequence, blocks: &mut BlockPool) -> bool {
    let salt = sequence.cache_salt.as_ref();
    let num_cached = blocks.adopt(&mut sequence.table, &sequence.tokens, salt);
    let num_slots = sequence.num_slots_wanted();
    let has_slots = blocks.grow(&mut sequence.table, num_slots);
    match has_slots {
        true => sequence.mark_started(num_cached),
        false => blocks.release(&mut sequence.table),
    }
    has_slots
}
