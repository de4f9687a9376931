//! top-p: the smallest set of best tokens whose probability reaches p.

use std::cell::OnceCell;

use foretoken_kernels::{Candidate, Draw};

use crate::Token;

/// Sums in another order differ by less than this share of the whole, for vocabularies of millions.
const DOUBT: f64 = 1e-9;

/// A draw from the nucleus without sorting it.
///
/// The token that wins among all is the one that wins within the nucleus, if it belongs to it: if what stands before it
/// falls short of p. If not, no token from it on does, and the draw is repeated among those before it. Most draws are
/// done at once, and each further one has fewer tokens to look at.
pub(crate) struct Nucleus<'a> {
    draw: &'a Draw<'a>,
    top_p: f32,
    target: OnceCell<f64>,
}

impl<'a> Nucleus<'a> {
    pub(crate) fn new(draw: &'a Draw<'a>, top_p: f32) -> Self {
        Self {
            draw,
            top_p,
            target: OnceCell::new(),
        }
    }

    /// The token, unless it takes the sums' last digits, or scores that are not numbers, to tell.
    pub(crate) fn draw(&self) -> Option<Token> {
        if !self.draw.best.score.is_finite() {
            return None;
        }
        let mut end = Candidate::LAST;
        loop {
            let winner = self.draw.before(end);
            if self.holds(winner)? {
                return Some(winner.token);
            }
            end = winner;
        }
    }

    fn holds(&self, candidate: Candidate) -> Option<bool> {
        let Draw {
            scores,
            best,
            floor,
            ..
        } = *self.draw;
        if candidate.token == best.token {
            return (!self.may_have_equals()).then_some(true);
        }
        let before = scores.mass_before(best.score, candidate);
        let target = *self
            .target
            .get_or_init(|| f64::from(self.top_p) * scores.mass(best.score, floor));
        let clear = (before - target).abs() > DOUBT * before.max(target);
        clear.then_some(before < target)
    }

    /// True if a token of a lower id may have the best token's score: division by the temperature makes equals of what
    /// is nearly so.
    fn may_have_equals(&self) -> bool {
        let Draw { scores, best, .. } = *self.draw;
        let before = &scores.logits[..best.token as usize];
        let logit = scores.logits[best.token as usize];
        let near = logit - logit.abs() * 1e-6;
        // Whole chunks without a branch become vectors.
        let is_near = |chunk: &[f32]| {
            chunk
                .iter()
                .fold(false, |any, &other| any | (other >= near))
        };
        before.chunks(64).any(is_near)
    }
}
