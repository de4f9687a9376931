//! What shares of the law tokens have.

use super::block::{BLOCK, for_each_block, largest};
use super::{Candidate, Scores};
use crate::math::exp;
use crate::simd::{Kernel, Vector, dispatch};

impl Scores<'_> {
    /// A token's score.
    pub fn at(&self, token: u32) -> f32 {
        self.logits
            .get(token as usize)
            .map_or(f32::NEG_INFINITY, |logit| logit / self.temperature)
    }

    /// The sum of `exp(score - largest)` over the scores from `floor` on.
    pub fn mass(&self, largest: f32, floor: f32) -> f64 {
        let mut sum = 0.0;
        dispatch(Mass {
            scores: *self,
            largest,
            floor,
            sum: &mut sum,
        });
        sum
    }

    /// The sum of `exp(score - largest)` over the tokens that stand before a candidate.
    pub fn mass_before(&self, largest: f32, end: Candidate) -> f64 {
        let split = self.logits.len().min(end.token as usize);
        let (lower, higher) = self.logits.split_at(split);
        let part = |logits| Scores { logits, ..*self };
        // Of equal scores, those of lower ids stand before it.
        part(lower).mass(largest, end.score) + part(higher).mass(largest, end.score.next_up())
    }
}

struct Mass<'a> {
    scores: Scores<'a>,
    largest: f32,
    floor: f32,
    sum: &'a mut f64,
}

impl Kernel for Mass<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut sums = [0.0_f64; LANES];
        for_each_block(self.scores.logits, |_, logits| {
            if largest::<V>(logits) / self.scores.temperature < self.floor {
                return;
            }
            let mut weights = [0.0; BLOCK];
            for (weight, logit) in weights.iter_mut().zip(logits) {
                let score = logit / self.scores.temperature;
                let own = exp(score - self.largest);
                *weight = if score >= self.floor { own } else { 0.0 };
            }
            for part in weights.as_chunks::<LANES>().0 {
                for (sum, &weight) in sums.iter_mut().zip(part) {
                    *sum += f64::from(weight);
                }
            }
        });
        *self.sum = sums.iter().sum();
    }
}

/// Lanes that the sum is kept in.
const LANES: usize = 16;
