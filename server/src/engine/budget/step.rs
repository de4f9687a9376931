//! What the budget is told of a step, and what it asks for.

use std::time::Duration;

use foretoken_draft::Costs;
use foretoken_model::SeqId;

use super::calibration::Author;
use super::prices::Load;

/// A sequence that gets a tree in this step.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Whose tree.
    pub seq: SeqId,
    /// Who drafts for it.
    pub drafter: Option<&'static str>,
    /// True at temperature 0.
    pub is_greedy: bool,
    /// True if the step brings its first token. Nobody's first token waits for drafts.
    pub is_first: bool,
    /// Position of the tree's root.
    pub context_len: usize,
    /// Nodes that are verified if drafted, whether they pay or not.
    pub min_draft_tokens: usize,
}

/// A step before its drafts.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Those that get trees, in the trees' order.
    pub candidates: Vec<Candidate>,
    /// The committed rows.
    pub load: Load,
    /// Rows that are left for draft tokens.
    pub num_draft_rows: usize,
}

/// How long the parts of a step took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// All drafters together.
    pub draft: Duration,
    /// The target's forward.
    pub forward: Duration,
    /// Everything else.
    pub rest: Duration,
}

/// What a drafter is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ask {
    /// Nodes, at most; 0 if the time to draft them would be lost.
    pub num_draft_tokens: usize,
    /// What it costs.
    pub costs: Costs,
}

impl Candidate {
    pub(super) fn author(&self) -> Option<Author> {
        self.drafter.map(|drafter| Author {
            drafter,
            is_greedy: self.is_greedy,
        })
    }
}
