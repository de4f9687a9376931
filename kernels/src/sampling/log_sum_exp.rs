//! `log_sum_exp`: what turns logits into logarithms of chances.

use super::{Scores, best};
use crate::math::ln;

/// `ln(sum(exp(x)))`: a logit less this is the logarithm of its token's chance.
///
/// The terms are added in double precision, in one order whatever the processor. A NaN counts as nothing; plus
/// infinity gives plus infinity; a row without any number above minus infinity gives minus infinity.
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    let largest = best(logits).score;
    if largest.is_infinite() {
        return largest;
    }
    let scores = Scores {
        logits,
        temperature: 1.0,
    };
    // The largest counts 1, so the sum is a normal number of at least 1.
    largest + ln(scores.mass(largest, f32::MIN) as f32)
}
