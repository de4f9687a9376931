//! `Draw`: the best token after noise.

use super::block::{BLOCK, for_each_block, largest};
use super::{Candidate, Noise, Scores};
use crate::simd::{Kernel, Vector, dispatch};

/// One draw: `argmax(score + noise)` over the tokens of a row that may come.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// The row.
    pub scores: Scores<'a>,
    /// The row's best token, at its score.
    pub best: Candidate,
    /// No token of a lower score may come.
    pub floor: f32,
    /// Whose noise.
    pub noise: Noise,
    /// The place that the token is drawn for.
    pub position: usize,
}

impl Draw<'_> {
    /// The token drawn, at its score without noise, of those that stand before `end` in the order of candidates; of
    /// equals, the lowest id. Where no score is above minus infinity, it is the best token.
    pub fn before(&self, end: Candidate) -> Candidate {
        let mut winner = Candidate {
            token: self.best.token,
            score: f32::NEG_INFINITY,
        };
        dispatch(Race {
            draw: self,
            end,
            winner: &mut winner,
        });
        Candidate {
            score: self.scores.at(winner.token),
            ..winner
        }
    }
}

struct Race<'a> {
    draw: &'a Draw<'a>,
    end: Candidate,
    /// At its score with noise.
    winner: &'a mut Candidate,
}

impl Kernel for Race<'_> {
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let Draw {
            scores,
            best,
            noise,
            position,
            ..
        } = *self.draw;
        let floor = self.draw.floor.max(self.end.score);
        // The winner reaches what the best token reaches; what even the largest noise does not lift so high needs none.
        let mut needed = reached_by(best.score + noise.at(position, best.token));
        let inverse = 1.0 / scores.temperature;
        for_each_block(scores.logits, |first_token, logits| {
            let highest = largest::<V>(logits) / scores.temperature;
            if highest < floor || highest < needed - Noise::MAX {
                return;
            }
            let bits = noise.block(position, first_token);
            let hope = |lane: usize| logits[lane] * inverse + bound(bits[lane]) >= needed;
            if !(0..BLOCK).fold(false, |any, lane| any | hope(lane)) {
                return;
            }
            for lane in 0..BLOCK {
                let hope = logits[lane] * inverse + bound(bits[lane]) >= needed;
                if hope && self.enters(first_token + lane as u32, logits[lane]) {
                    needed = needed.max(reached_by(self.winner.score));
                }
            }
        });
    }
}

impl Race<'_> {
    /// True if the token is the new winner.
    #[inline(always)]
    fn enters(&mut self, token: u32, logit: f32) -> bool {
        let score = logit / self.draw.scores.temperature;
        let perturbed = score + self.draw.noise.at(self.draw.position, token);
        let wins = perturbed > self.winner.score
            && score >= self.draw.floor
            && Candidate { token, score }.order(&self.end).is_lt();
        if wins {
            *self.winner = Candidate {
                token,
                score: perturbed,
            };
        }
        wins
    }
}

/// What a token's score and the bound of its noise have to reach, if a perturbed score is to be beaten: the slack is
/// more than what rounding makes of their sum. Infinite scores are beaten by infinite ones alone, but those are found by
/// an inverse temperature, whose rounding may make them finite.
#[inline(always)]
fn reached_by(perturbed: f32) -> f32 {
    let perturbed = perturbed.min(f32::MAX);
    perturbed - (0.01 + perturbed.abs() * 1e-6)
}

/// More than the noise of these bits, but for 1e-4: -ln(-ln(1 - v)) < -ln v for v = (bits + 1/2) / 2^32, and the
/// exponent and mantissa of a number, read as one whole number, are no more than its logarithm.
#[inline(always)]
fn bound(bits: u32) -> f32 {
    const UNIT: f32 = std::f32::consts::LN_2 / (1 << 23) as f32;
    const BIAS: f32 = (127 + 32) as f32 * std::f32::consts::LN_2;
    BIAS - (bits as f32).to_bits() as i32 as f32 * UNIT
}
