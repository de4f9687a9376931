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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_every_kind;

    #[test]
    fn close_to_double_precision_and_equal_bits_on_every_kind() {
        for (len, spread) in [(1, 1.0), (64, 0.0), (65, 3.0), (1000, 30.0), (50_000, 3.0)] {
            let row: Vec<f32> = (0..len)
                .map(|token: u32| (token as f32 * 0.7).sin() * spread + 5.0)
                .collect();
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            let mut bits = Vec::new();
            on_every_kind(|kind| {
                let got = log_sum_exp(&row);
                let error = (f64::from(got) - sum.ln()).abs();
                assert!(
                    error < 1e-6 * sum.ln().abs().max(1.0),
                    "{kind}, {len}: {error}"
                );
                bits.push(got.to_bits());
            });
            assert!(
                bits.iter().all(|&other| other == bits[0]),
                "{len}: {bits:?}"
            );
        }
    }

    #[test]
    fn what_is_no_number_counts_as_its_doc_says() {
        const NONE: f32 = f32::NEG_INFINITY;
        let cases: [(&[f32], f32); 6] = [
            (&[], NONE),
            (&[f32::NAN, NONE], NONE),
            (&[f32::NAN, 2.0, NONE], 2.0),
            (&[1.0, f32::INFINITY], f32::INFINITY),
            (&[f32::MAX, f32::MAX], f32::MAX),
            (&[f32::MIN], f32::MIN),
        ];
        for (row, want) in cases {
            assert_eq!(log_sum_exp(row), want, "{row:?}");
        }
    }
}
