//! How much is drafted and how much of it is verified: what pays, and nothing else.
//!
//! A draft token is worth its chance of being kept, as its drafter says and as the past corrects it; it costs what its
//! row adds to the forward. Nodes of the whole batch are taken best first while they bring more tokens than the same
//! time would bring otherwise. None, if none pays; and a drafter that brings too little is not even asked.

mod account;
mod allowance;
mod ask;
mod calibration;
mod choose;
mod interest;
mod prices;
mod record;
mod shadow;
mod step;

use std::collections::HashMap;
use std::time::Duration;

use foretoken_draft::{Accepted, DraftTree};
use foretoken_model::{SeqId, Token};

use account::Account;
use allowance::Allowance;
use calibration::{Author, Calibration, Records};
use choose::{Choice, choose};
use interest::Interest;
pub use prices::{Load, Prices};
use shadow::{Shadow, Verdict, chance};
pub use step::{Ask, Candidate, Step, Times};

/// Decides by what was measured of the machine, the drafters and the texts.
#[derive(Debug)]
pub struct Budget {
    prices: Prices,
    calibration: Calibration,
    /// What is known of each sequence.
    records: HashMap<SeqId, SequenceRecord>,
    /// What a new sequence may be expected to gain from drafting.
    interests: HashMap<Author, Interest>,
    account: Account,
    allowance: Allowance,
    /// The step that is being decided on.
    now: u64,
    /// Steps for which nobody has drafted, since the last for which somebody has.
    num_plain_steps: usize,
    /// Steps since the last of [`PLAIN_STEPS`] in a row.
    num_drafted_steps: usize,
    /// What drafting takes for a sequence.
    draft_times: HashMap<Author, DraftTime>,
    /// What time was worth in the latest step, and a node's row there.
    rate: Rate,
    /// Levels of the trees of the latest step, as they were drafted.
    num_levels: usize,
    /// Seconds of a step for each sequence, beside drafting and the forward.
    rest_seconds: f64,
}

/// Seconds that drafting takes for a sequence.
#[derive(Clone, Copy, Debug, Default)]
struct DraftTime {
    tree: f64,
    /// The same by level of the tree.
    level: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    tokens_per_second: f64,
    row_seconds: f64,
}

#[derive(Debug)]
struct SequenceRecord {
    interest: Interest,
    /// What came of its own guesses.
    guesses: Records,
    shadow: Option<Shadow>,
    is_asked: bool,
    /// True if it was asked, or would have been, to see whether things have changed.
    is_trial: bool,
    /// The step in which it was last asked for.
    asked_at: u64,
    /// True if the shadow's nodes would be worth verifying if all were certain.
    could_pay: bool,
}

impl SequenceRecord {
    /// Of a sequence that nobody has drafted for, and what it may be expected to gain.
    fn new(interest: Interest, now: u64) -> Self {
        Self {
            interest,
            guesses: Records::default(),
            shadow: None,
            is_asked: false,
            is_trial: false,
            asked_at: now,
            could_pay: false,
        }
    }
}

/// What a node has to bring for what it costs: where both are about equal, misjudgements lose more than luck gains.
const MARGIN: f64 = 1.05;

/// Plain steps after drafts that pay for these: weights that the processor's cache holds are pushed out of it while
/// drafts are made and verified, and come back over some steps.
const SETTLING_STEPS: usize = 3;

/// Plain steps in a row, those included, that tell what plain decoding takes.
const PLAIN_STEPS: usize = 8;

impl Budget {
    /// A policy that knows what forwards cost, and nothing of drafters and texts yet.
    pub fn new(prices: Prices) -> Self {
        Self {
            prices,
            calibration: Calibration::default(),
            records: HashMap::new(),
            interests: HashMap::new(),
            account: Account::default(),
            allowance: Allowance::default(),
            now: 0,
            num_plain_steps: PLAIN_STEPS,
            num_drafted_steps: 0,
            draft_times: HashMap::new(),
            rate: Rate::default(),
            num_levels: 1,
            rest_seconds: 0.0,
        }
    }

    /// Cuts the trees to the nodes that pay, but none below its request's `min_draft_tokens` while the step has rows.
    /// Trees are in order of falling survival, so a cut keeps the best nodes.
    pub fn select(&mut self, step: &Step, trees: &mut [DraftTree]) {
        self.num_levels = trees
            .iter()
            .map(num_levels)
            .max()
            .unwrap_or_default()
            .max(1);
        for (candidate, tree) in step.candidates.iter().zip(&*trees) {
            if let Some(record) = self.records.get_mut(&candidate.seq)
                && record.shadow.is_none()
                && tree.num_draft_tokens() > 0
            {
                record.shadow = Some(Shadow::new(tree.clone()));
            }
        }
        let worths: Vec<Vec<f32>> = (step.candidates.iter().zip(&*trees))
            .map(|(candidate, tree)| self.worths(candidate, tree))
            .collect();
        let plain = self.plain_seconds(step);
        let worth = self.account.doubt() * self.account.ratio();
        let tokens_per_second = worth * step.candidates.len() as f64 / plain;
        let num_keys = (step.candidates.first()).map_or(0, |candidate| candidate.context_len);
        self.rate = Rate {
            tokens_per_second,
            row_seconds: self.prices.next_row(step.load.num_rows, num_keys),
        };
        let chosen = choose(&self.prices, step, &worths, MARGIN * tokens_per_second);
        let asked = self.asked(step);
        let aftermath = SETTLING_STEPS as f64 * self.prices.aftermath();
        let aftermath = aftermath / asked.len().max(1) as f64;
        for (candidate, (tree, choice)) in step.candidates.iter().zip(trees.iter_mut().zip(chosen))
        {
            let num_drafted = tree.num_draft_tokens();
            tree.truncate(choice.num_nodes);
            let row = (self.prices).next_row(step.load.num_rows, candidate.context_len);
            let most = num_drafted as f64 * (1.0 - tokens_per_second * row);
            self.judge(candidate, choice, tokens_per_second, aftermath, most);
        }
    }

    /// Takes in what a drafter's answer was worth, if it was asked: the nodes that were taken, and what all would have
    /// brought at most.
    fn judge(
        &mut self,
        candidate: &Candidate,
        choice: Choice,
        tokens_per_second: f64,
        aftermath: f64,
        most: f64,
    ) {
        let record = self.records.get_mut(&candidate.seq);
        let Some(record) = record.filter(|record| record.is_asked) else {
            return;
        };
        let Some(author) = candidate.author() else {
            return;
        };
        let drafting = self.draft_times.get(&author).map_or(0.0, |time| time.tree);
        let gain = choice.worth - (tokens_per_second * choice.seconds) as f32;
        let cost = (tokens_per_second * (drafting + aftermath)) as f32;
        record.could_pay = most > f64::from(cost);
        if record.is_trial {
            self.allowance.spend(cost - gain);
        }
        let all = self.interests.entry(author).or_default();
        for interest in [&mut record.interest, all] {
            interest.judge(self.now, gain, cost, choice.num_nodes);
        }
    }

    /// Takes in what the target said, and how long everything took.
    pub fn learn(&mut self, step: &Step, trees: &[DraftTree], accepted: &[Accepted], times: Times) {
        let mut num_emitted = 0;
        for ((candidate, tree), accepted) in step.candidates.iter().zip(trees).zip(accepted) {
            num_emitted += accepted.path.len();
            self.follow(candidate, tree, accepted);
        }
        let asked = self.asked(step);
        let times = match asked.is_empty() {
            // What drafters do in every step is no draft's cost.
            true => Times {
                draft: Duration::ZERO,
                rest: times.rest + times.draft,
                ..times
            },
            false => times,
        };
        self.settle(step, !asked.is_empty(), num_emitted, times);
        self.now += 1;
        let mut all = step.load;
        for (candidate, tree) in step.candidates.iter().zip(trees) {
            all.num_rows += tree.num_draft_tokens();
            all.num_row_keys += tree.num_draft_tokens() * candidate.context_len;
        }
        let is_drafted = all.num_rows > step.load.num_rows;
        match is_drafted {
            true => self.prices.refine_drafts(step.load, all, times.forward),
            false if asked.is_empty() && self.num_plain_steps >= SETTLING_STEPS => {
                self.prices.refine_plain(step.load, times.forward);
            }
            false => self.prices.refine_aftermath(step.load, times.forward),
        }
        self.num_plain_steps = match is_drafted || !asked.is_empty() {
            true => 0,
            false => self.num_plain_steps + 1,
        };
        self.num_drafted_steps = match self.num_plain_steps >= PLAIN_STEPS {
            true => 0,
            false => self.num_drafted_steps + 1,
        };
        self.time(step, &asked, times);
    }

    /// By sequence that was asked to be drafted for in this step: by whom.
    fn asked(&self, step: &Step) -> Vec<Author> {
        let is_asked = |candidate: &&Candidate| {
            let record = self.records.get(&candidate.seq);
            record.is_some_and(|record| record.is_asked)
        };
        let candidates = step.candidates.iter().filter(is_asked);
        candidates.filter_map(Candidate::author).collect()
    }

    /// Takes in what drafting and the rest took for a sequence.
    fn time(&mut self, step: &Step, asked: &[Author], times: Times) {
        let average = |known: &mut f64, time: Duration, count: usize| {
            let seconds = time.as_secs_f64() / count as f64;
            // The first answer is all that is known.
            let share = if *known == 0.0 { 1.0 } else { 1.0 / 16.0 };
            *known += (seconds - *known) * share;
        };
        // Where several drafters were asked, who took how long is not known.
        if let [author, others @ ..] = asked
            && others.iter().all(|other| other == author)
        {
            let known = self.draft_times.entry(*author).or_default();
            average(&mut known.tree, times.draft, asked.len());
            average(&mut known.level, times.draft, asked.len() * self.num_levels);
        }
        if !step.candidates.is_empty() {
            average(&mut self.rest_seconds, times.rest, step.candidates.len());
        }
    }

    /// Enters a step into the account, unless prompts had a part in its time that is not known. Where drafting had none,
    /// the step brought what plain decoding does, and what else held it up is not drafting's loss.
    fn settle(&mut self, step: &Step, is_drafting: bool, num_emitted: usize, times: Times) {
        let num_seqs = step.candidates.len();
        if num_seqs == 0 || !self.prices.know(step.load) {
            return;
        }
        let mut plain = num_seqs as f64;
        if is_drafting || self.num_plain_steps < SETTLING_STEPS {
            let took = (times.draft + times.forward + times.rest).as_secs_f64();
            let usual = self.prices.price(step.load) + self.rest_seconds * num_seqs as f64;
            // A step that was interrupted says little.
            let most = 3.0 * num_emitted.max(num_seqs) as f64;
            plain = (plain * took / usual).min(most);
        }
        self.account.learn(num_seqs, num_emitted as f64, plain);
    }

    /// Drops what is known of a sequence that is gone.
    pub fn forget(&mut self, seq: SeqId) {
        self.records.remove(&seq);
    }

    /// Judges a sequence's shadow by the tokens that were emitted.
    fn follow(&mut self, candidate: &Candidate, tree: &DraftTree, accepted: &Accepted) {
        let (Some(author), Some(record)) =
            (candidate.author(), self.records.get_mut(&candidate.seq))
        else {
            return;
        };
        let Some(mut shadow) = record.shadow.take() else {
            return;
        };
        let mut verdicts = Vec::new();
        let path = accepted.path[1..].iter().map(|&node| tree.tokens()[node]);
        let mut emitted = path.chain([accepted.bonus]);
        let is_followed = emitted.all(|token: Token| shadow.follow(token, &mut verdicts));
        for Verdict { node, is_kept } in verdicts {
            let chance = chance(shadow.tree(), node);
            self.calibration
                .learn(author, &mut record.guesses, chance, is_kept);
        }
        if shadow.came_true() && record.could_pay {
            record.interest.wake(self.now, shadow.num_followed());
        } else {
            record.shadow = is_followed.then_some(shadow);
        }
    }

    /// The chance of each node that it is reached and kept, as far as its drafter is to be believed. The root's is 1.
    fn worths(&self, candidate: &Candidate, tree: &DraftTree) -> Vec<f32> {
        let mut worths = vec![1.0; tree.num_nodes()];
        let (Some(author), Some(record)) = (candidate.author(), self.records.get(&candidate.seq))
        else {
            return worths;
        };
        for node in 1..tree.num_nodes() {
            let chance = chance(tree, node);
            let corrected = self.calibration.correct(author, &record.guesses, chance);
            worths[node] = worths[tree.parents()[node]] * corrected;
        }
        worths
    }

    /// Seconds that the step's sequences would take without drafts, and without the prompts that share the step.
    fn plain_seconds(&self, step: &Step) -> f64 {
        let num_keys = step
            .candidates
            .iter()
            .map(|candidate| candidate.context_len + 1)
            .sum();
        let load = Load {
            num_rows: step.candidates.len(),
            num_row_keys: num_keys,
            num_keys,
        };
        self.prices.price(load) + self.rest_seconds * step.candidates.len() as f64
    }
}

fn num_levels(tree: &DraftTree) -> usize {
    let depths = (0..tree.num_nodes()).map(|node| tree.depth(node));
    depths.max().unwrap_or_default()
}
