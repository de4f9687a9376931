//! Whose drafters are asked in a step, and for how much.

use foretoken_draft::Costs;

use super::{Ask, Budget, Candidate, SequenceRecord, Step};

/// Steps with drafts after which that is looked at again: where drafting brings nothing, and more for what it brings.
const MOST_DRAFTED_STEPS: f64 = 48.0;
const MORE_DRAFTED_STEPS: f64 = 400.0;

impl Budget {
    /// What drafters are asked for in this step, by candidate.
    pub fn ask(&mut self, step: &Step) -> Vec<Ask> {
        self.allowance.accrue(step.candidates.len());
        self.begin_trials(step);
        (step.candidates.iter())
            .map(|candidate| Ask {
                num_draft_tokens: self.wanted(candidate),
                costs: self.costs(candidate),
            })
            .collect()
    }

    /// What a level and a node cost a drafter that is to care.
    fn costs(&self, candidate: &Candidate) -> Costs {
        let time = candidate
            .author()
            .and_then(|author| self.draft_times.get(&author));
        match time {
            Some(time) if candidate.min_draft_tokens == 0 => {
                let tokens = |seconds: f64| (self.rate.tokens_per_second * seconds) as f32;
                Costs {
                    level: tokens(time.level),
                    node: tokens(self.rate.row_seconds),
                }
            }
            _ => Costs::default(),
        }
    }

    /// Meets sequences that are new, and decides whose pauses end: those whose drafters were asked longest ago, while
    /// it may cost what it does.
    fn begin_trials(&mut self, step: &Step) {
        let mut due = Vec::new();
        for candidate in &step.candidates {
            let Some(author) = candidate.author() else {
                continue;
            };
            let interest = *self.interests.entry(author).or_default();
            let record = (self.records.entry(candidate.seq))
                .or_insert_with(|| SequenceRecord::new(interest, self.now));
            record.is_trial = record.interest.is_trial(self.now);
            if record.is_trial && !candidate.is_first {
                due.push((record.asked_at, candidate.seq, author));
            }
        }
        due.sort_unstable_by_key(|&(asked_at, seq, _)| (asked_at, seq));
        let cost = |author| {
            let time = self.draft_times.get(author).copied().unwrap_or_default();
            (self.rate.tokens_per_second * time.tree) as f32
        };
        let costs = due.iter().map(|(_, _, author)| cost(author));
        let num_trials = self.allowance.covers(costs);
        for (_, seq, _) in due.iter().skip(num_trials) {
            if let Some(record) = self.records.get_mut(seq) {
                record.interest.postpone(self.now);
            }
        }
    }

    /// Draft tokens that a drafter is asked for.
    fn wanted(&mut self, candidate: &Candidate) -> usize {
        // What plain decoding takes has to be seen now and then, and the more rarely the more drafting brings.
        let most_drafted = MOST_DRAFTED_STEPS + MORE_DRAFTED_STEPS * (self.account.ratio() - 1.0);
        let is_plain = !self.prices.are_refined() || self.num_drafted_steps as f64 > most_drafted;
        let record = self.records.get_mut(&candidate.seq);
        let Some(record) = record.filter(|_| candidate.drafter.is_some()) else {
            return 0;
        };
        let is_drafted = !is_plain && !candidate.is_first;
        let asked = match is_drafted {
            true => record
                .interest
                .ask(self.now)
                .max(candidate.min_draft_tokens),
            false => candidate.min_draft_tokens,
        };
        record.is_asked = asked > 0;
        if record.is_asked {
            record.asked_at = self.now;
        }
        asked
    }
}
