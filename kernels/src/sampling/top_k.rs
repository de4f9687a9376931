//! `top_k`: the best few of a row.

use super::block::{blocks, largest};
use super::{Candidate, Scores};
use crate::simd::{Kernel, Vector, dispatch};

/// The k best tokens at their logits, best first; of equals, the lowest id first. Fewer, if fewer are not NaN.
pub fn top_k(logits: &[f32], k: usize) -> Vec<Candidate> {
    let scores = Scores {
        logits,
        temperature: 1.0,
    };
    scores.top_k(k, f32::NEG_INFINITY)
}

impl Scores<'_> {
    /// The k best tokens of a score from `floor` on, best first.
    pub fn top_k(&self, k: usize, floor: f32) -> Vec<Candidate> {
        let mut found = Vec::new();
        if k > 0 {
            dispatch(TopK {
                scores: *self,
                k: k.min(self.logits.len().max(1)),
                floor,
                found: &mut found,
            });
        }
        found
    }
}

struct TopK<'a> {
    scores: Scores<'a>,
    k: usize,
    /// Lower scores have no place.
    floor: f32,
    found: &'a mut Vec<Candidate>,
}

impl Kernel for TopK<'_> {
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        // Selecting among so many at once is cheap for each, and the floor rises soon enough.
        let room = 2 * self.k.max(16);
        for (first_token, logits) in blocks(self.scores.logits) {
            // Not `<`: a block of NaNs has no largest logit, and a row's end has room for tokens that there are not.
            if largest(&logits) / self.scores.temperature < self.floor {
                continue;
            }
            let num_left = self.scores.logits.len() - first_token as usize;
            for (token, logit) in (first_token..).zip(logits.into_iter().take(num_left)) {
                let score = logit / self.scores.temperature;
                if score >= self.floor {
                    self.found.push(Candidate { token, score });
                    if self.found.len() >= room {
                        self.select();
                    }
                }
            }
        }
        if self.found.len() > self.k {
            self.select();
        }
        self.found.sort_unstable_by(Candidate::order);
    }
}

impl TopK<'_> {
    /// Keeps the best k.
    fn select(&mut self) {
        let (_, last, _) = self
            .found
            .select_nth_unstable_by(self.k - 1, Candidate::order);
        // Tokens come in the order of their ids, so an equal one stands behind.
        self.floor = last.score.next_up();
        self.found.truncate(self.k);
    }
}
