//! What drafting brought, by category and by position.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::harness::send::Drafted;

/// What drafting brought, by category of question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Sums over the requests of a category.
    pub by_category: BTreeMap<String, Drafted>,
}

impl Acceptance {
    /// Counts a request.
    pub fn add(&mut self, category: &str, drafted: &Drafted) {
        self.by_category
            .entry(category.to_owned())
            .or_default()
            .add(drafted);
    }

    /// The sum over all categories.
    pub fn total(&self) -> Drafted {
        let mut total = Drafted::default();
        self.by_category
            .values()
            .for_each(|drafted| total.add(drafted));
        total
    }
}

impl Drafted {
    fn add(&mut self, other: &Self) {
        self.num_drafts += other.num_drafts;
        self.num_draft_tokens += other.num_draft_tokens;
        self.num_accepted_tokens += other.num_accepted_tokens;
        let num_positions = self
            .accepted_per_pos
            .len()
            .max(other.accepted_per_pos.len());
        self.accepted_per_pos.resize(num_positions, 0);
        for (sum, count) in self
            .accepted_per_pos
            .iter_mut()
            .zip(&other.accepted_per_pos)
        {
            *sum += count;
        }
    }

    /// Share of the draft tokens that were kept; none if nothing was drafted.
    pub fn acceptance_rate(&self) -> Option<f64> {
        (self.num_draft_tokens > 0)
            .then(|| self.num_accepted_tokens as f64 / self.num_draft_tokens as f64)
    }

    /// Tokens emitted per verify that held a draft, bonus token included; none if the server does not say.
    pub fn mean_acceptance_length(&self) -> Option<f64> {
        (self.num_drafts > 0)
            .then(|| 1.0 + self.num_accepted_tokens as f64 / self.num_drafts as f64)
    }

    /// Entry i is the share of verifies that kept the draft token at depth i + 1.
    pub fn rate_per_pos(&self) -> Vec<f64> {
        let num_drafts = self.num_drafts.max(1) as f64;
        self.accepted_per_pos
            .iter()
            .map(|&count| count as f64 / num_drafts)
            .collect()
    }
}
