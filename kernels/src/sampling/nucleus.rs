//! top-p over sorted candidates.

use super::Candidate;
use crate::math::exp;

/// Counts the smallest set of best candidates whose probability reaches `top_p`. They are sorted.
pub fn nucleus_len(candidates: &[Candidate], top_p: f32) -> usize {
    let largest = candidates.first().map_or(0.0, |best| best.score);
    let weight = |candidate: &Candidate| f64::from(exp(candidate.score - largest));
    let target = f64::from(top_p) * candidates.iter().map(weight).sum::<f64>();
    let mut sum = 0.0;
    let reaches = |candidate| {
        sum += weight(candidate);
        sum >= target
    };
    candidates
        .iter()
        .position(reaches)
        .map_or(candidates.len(), |last| last + 1)
}
