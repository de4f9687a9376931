//! Softmax span by span: the largest score so far, what the weights sum to, and what both make of older sums.

use super::SPAN;
use crate::math::exp;

/// One query's softmax, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    largest: f32,
    pub(crate) total: f32,
}

impl Running {
    pub(crate) fn new() -> Self {
        Self {
            largest: f32::NEG_INFINITY,
            total: 0.0,
        }
    }

    /// Turns the first `count` scores of a span, scaled, into weights, and the rest into zeros. Gives the factor that
    /// older sums have to be multiplied by.
    ///
    /// Milakov, Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867.
    #[inline(always)]
    pub(crate) fn weigh(&mut self, scores: &mut [f32; SPAN], count: usize, scale: f32) -> f32 {
        for (index, score) in scores.iter_mut().enumerate() {
            *score = if index < count {
                *score * scale
            } else {
                f32::NEG_INFINITY
            };
        }
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in scores.chunks_exact(LANES) {
            for (lane, &score) in lanes.iter_mut().zip(chunk) {
                *lane = if score > *lane { score } else { *lane };
            }
        }
        let mut largest = self.largest;
        for lane in lanes {
            largest = if lane > largest { lane } else { largest };
        }
        let factor = match self.largest == largest {
            true => 1.0,
            false => exp(self.largest - largest),
        };
        let mut sums = [0.0; LANES];
        for (chunk, index) in scores.chunks_exact_mut(LANES).zip((0..).step_by(LANES)) {
            for (lane, (sum, score)) in sums.iter_mut().zip(chunk).enumerate() {
                let weight = exp(*score - largest);
                *score = if index + lane < count { weight } else { 0.0 };
                *sum += *score;
            }
        }
        self.largest = largest;
        self.total = self.total * factor + halves(sums);
        factor
    }
}

/// Scores side by side: every kind of vector adds them up in the same order.
const LANES: usize = 16;

#[inline(always)]
fn halves(mut lanes: [f32; LANES]) -> f32 {
    let mut len = LANES / 2;
    while len > 0 {
        for lane in 0..len {
            lanes[lane] += lanes[lane + len];
        }
        len /= 2;
    }
    lanes[0]
}
