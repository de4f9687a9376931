//! Successors that adapt: what followed one suffix, the latest weighing most.

use foretoken_model::Token;

/// Successors in a row; the lightest gives way.
pub(super) const MAX_SUCCESSORS: usize = 8;

/// Successors with their weights, in the order in which they were first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    successors: [(Token, f32); MAX_SUCCESSORS],
    len: usize,
}

impl Row {
    /// A row of these; what is more than fits is left out.
    pub(super) fn of(successors: &[(Token, f32)]) -> Self {
        let mut row = Self::default();
        for (place, &successor) in row.successors.iter_mut().zip(successors) {
            *place = successor;
            row.len += 1;
        }
        row
    }

    /// Tokens and weights.
    pub(super) fn successors(&self) -> &[(Token, f32)] {
        &self.successors[..self.len]
    }

    /// Counts a token; `decay` is what that leaves of the weight of earlier ones, so the total stays below
    /// 1 / (1 - decay).
    pub(super) fn visit(&mut self, token: Token, decay: f32) {
        let seen = &mut self.successors[..self.len];
        for (_, weight) in seen.iter_mut() {
            *weight *= decay;
        }
        if let Some((_, weight)) = seen.iter_mut().find(|entry| entry.0 == token) {
            *weight += 1.0;
        } else if self.len < MAX_SUCCESSORS {
            self.successors[self.len] = (token, 1.0);
            self.len += 1;
        } else if let Some(lightest) = seen.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1)) {
            *lightest = (token, 1.0);
        }
    }
}
