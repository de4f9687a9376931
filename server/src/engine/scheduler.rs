//! Who runs in a step, and how many rows each.

use std::collections::VecDeque;

use foretoken_draft::Context;
use foretoken_model::{BlockPool, SeqId};

use crate::engine::budget::{Load, Step};
use crate::engine::sequence::Sequence;

/// How much a step may hold.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Sequences that run at the same time.
    pub max_num_seqs: usize,
    /// Rows of a step: prompts and decodes, then drafts.
    pub max_num_batched_tokens: usize,
    /// Rows of one sequence's committed tokens in a step.
    pub max_prefill_chunk: usize,
}

/// Sequences that run or wait, oldest first.
#[derive(Debug)]
pub(crate) struct Scheduler {
    options: SchedulerOptions,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
}

/// Who runs in this step. The sequences are the plan's until `commit` gives them back.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) scheduled: Vec<Scheduled>,
    /// Sequences that lost what the cache held of them: abandoned or preempted.
    pub(crate) forgotten: Vec<SeqId>,
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
    pub(crate) fn contexts(&self, asked: &[usize]) -> Vec<(Option<&'static str>, Context<'_>)> {
        (self.rooted().zip(asked))
            .map(|(sequence, &asked)| (sequence.speculation.drafter, sequence.context(asked)))
            .collect()
    }
}

impl Scheduler {
    pub(crate) fn new(options: SchedulerOptions) -> Self {
        Self {
            options,
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Takes a sequence in, behind those that wait already.
    pub(crate) fn add(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    /// Takes a scheduled sequence back.
    pub(crate) fn resume(&mut self, sequence: Sequence) {
        self.running.push(sequence);
    }

    /// True if there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Decides who runs: those that run already, oldest first, then those that wait while there is room.
    pub(crate) fn plan(&mut self, blocks: &mut BlockPool) -> Plan {
        let mut plan = Plan::default();
        self.running.sort_by_key(|sequence| sequence.id);
        self.drop_abandoned(blocks, &mut plan);
        self.reserve(blocks, &mut plan);
        self.admit(blocks);

        // Every sequence that decodes gets its one row, so that no prompt holds up those that already answer.
        let num_decodes = self
            .running
            .iter()
            .filter(|sequence| sequence.num_pending() == 1)
            .count();
        let mut num_prompt_rows = self
            .options
            .max_num_batched_tokens
            .saturating_sub(num_decodes);
        let mut unscheduled = Vec::new();
        for mut sequence in self.running.drain(..) {
            let num_rows = match sequence.num_pending() {
                1 => 1,
                pending => pending
                    .min(self.options.max_prefill_chunk)
                    .min(num_prompt_rows),
            };
            if num_rows == 0 {
                unscheduled.push(sequence);
                continue;
            }
            if sequence.num_pending() > 1 {
                num_prompt_rows -= num_rows;
            }
            sequence.mark_scheduled();
            plan.scheduled.push(Scheduled { sequence, num_rows });
        }
        self.running = unscheduled;
        plan.num_draft_rows = num_prompt_rows;
        plan
    }

    /// Frees those whose client is gone, waiting ones too.
    fn drop_abandoned(&mut self, blocks: &mut BlockPool, plan: &mut Plan) {
        let mut leave = |sequence: &mut Sequence| {
            let stays = !sequence.is_abandoned();
            if !stays {
                blocks.release(&mut sequence.table);
                plan.forgotten.push(sequence.id);
            }
            stays
        };
        self.running.retain_mut(&mut leave);
        self.waiting.retain_mut(&mut leave);
    }

    /// Gives every running sequence the slots of this step, the slack for its tree included. Where blocks run out,
    /// the youngest gives all of its own and waits to be computed again; the oldest always goes on.
    fn reserve(&mut self, blocks: &mut BlockPool, plan: &mut Plan) {
        let mut index = 0;
        while let Some(sequence) = self.running.get_mut(index) {
            let num_slots = sequence.num_slots_wanted();
            if blocks.grow(&mut sequence.table, num_slots) {
                index += 1;
            } else if let Some(mut youngest) = self.running.pop() {
                blocks.release(&mut youngest.table);
                youngest.num_computed = 0;
                plan.forgotten.push(youngest.id);
                self.waiting.push_front(youngest);
            }
        }
    }

    /// Starts those that wait, in order, while their prompts and trees find room.
    fn admit(&mut self, blocks: &mut BlockPool) {
        while self.running.len() < self.options.max_num_seqs
            && let Some(mut sequence) = self.waiting.pop_front()
        {
            let num_slots = sequence.num_slots_wanted();
            if !blocks.grow(&mut sequence.table, num_slots) {
                self.waiting.push_front(sequence);
                return;
            }
            self.running.push(sequence);
        }
    }
}
