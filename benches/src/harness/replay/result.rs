//! What replays brought, summed up.

use serde::{Deserialize, Serialize};

use super::play::Played;
use super::transcript::Transcript;

/// One drafter at one budget on the answers to one workload at one temperature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplayResult {
    /// Who drafted.
    pub drafter: String,
    /// Draft tokens that each step verified where the drafter had them.
    pub budget: usize,
    /// Where the questions are from.
    pub workload: String,
    /// The answers' temperature.
    pub temperature: f32,
    /// All answers.
    pub all: Counts,
    /// Those that do not repeat themselves.
    pub not_looping: Counts,
}

/// Sums over answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Answers.
    pub num_answers: usize,
    /// Their tokens.
    pub num_tokens: usize,
    /// Verifies.
    pub num_steps: usize,
    /// Verifies that held a draft token.
    pub num_drafts: usize,
    /// Draft tokens verified.
    pub num_draft_tokens: usize,
    /// Draft tokens kept.
    pub num_accepted_tokens: usize,
    /// Microseconds of each call of the drafter.
    pub draft_us: f64,
    num_asked: usize,
}

impl ReplayResult {
    /// Nothing yet, of such a transcript.
    pub fn new(drafter: &str, budget: usize, transcript: &Transcript) -> Self {
        Self {
            drafter: drafter.to_owned(),
            budget,
            workload: transcript.workload.clone(),
            temperature: transcript.temperature,
            all: Counts::default(),
            not_looping: Counts::default(),
        }
    }

    /// True if both sum up the same.
    pub fn is_of(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// Orders results for reading.
    pub fn place(&self) -> (&str, f32, &str, usize) {
        (&self.workload, self.temperature, &self.drafter, self.budget)
    }

    /// Adds an answer.
    pub fn add(&mut self, transcript: &Transcript, played: &Played) {
        self.all.add(transcript, played);
        if !transcript.is_looping() {
            self.not_looping.add(transcript, played);
        }
    }

    /// The result in a line.
    pub fn line(&self) -> String {
        format!(
            "{}, T {}: {} of {} draft tokens: {:.2} tokens a step ({:.2} where answers do not loop), acceptance length {:.2}, {:.1} µs a draft\n",
            self.workload,
            self.temperature,
            self.drafter,
            self.budget,
            self.all.tokens_per_step(),
            self.not_looping.tokens_per_step(),
            self.all.acceptance_length(),
            self.all.draft_us,
        )
    }
}

impl Counts {
    /// Tokens of each verify, those without a draft included.
    pub fn tokens_per_step(&self) -> f64 {
        self.num_tokens as f64 / self.num_steps.max(1) as f64
    }

    /// Tokens of each verify that held a draft, bonus token included.
    pub fn acceptance_length(&self) -> f64 {
        1.0 + self.num_accepted_tokens as f64 / self.num_drafts.max(1) as f64
    }

    /// Adds another's.
    fn add(&mut self, transcript: &Transcript, played: &Played) {
        self.num_answers += 1;
        self.num_tokens += transcript.tokens.len();
        self.num_steps += played.num_steps;
        self.num_drafts += played.num_drafts;
        self.num_draft_tokens += played.num_draft_tokens;
        self.num_accepted_tokens += played.num_accepted_tokens;
        let whole = self.draft_us * self.num_asked as f64 + played.draft.as_secs_f64() * 1e6;
        self.num_asked += played.num_asked;
        self.draft_us = whole / self.num_asked.max(1) as f64;
    }
}
