//! How much of what was drafted is verified.

use foretoken_draft::DraftTree;

use crate::engine::scheduler::Plan;

/// Cuts trees to what a step has room for.
#[derive(Debug, Default)]
pub(crate) struct Budget {}

impl Budget {
    /// Cuts each tree to an equal share of the step's rows, but not below its request's `min_draft_tokens`. Trees are
    /// in order of falling survival, so the best nodes stay.
    pub(crate) fn select(&self, plan: &Plan, trees: &mut [DraftTree]) {
        let share = plan.num_draft_rows / trees.len().max(1);
        for (sequence, tree) in plan.rooted().zip(trees) {
            tree.truncate(share.max(sequence.speculation.min_draft_tokens));
        }
    }
}
