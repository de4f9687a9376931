//! How likely the model found a token, and which it found likeliest.

use foretoken_kernels::{log_sum_exp, top_k};

use crate::Token;

/// Natural logarithms of probabilities at one position.
///
/// They are the log-softmax of the model's own logits: logit bias, penalties, temperature and filters have no part in
/// them, so they say what the model thinks, not how the request draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token that stands there.
    pub chosen: f32,
    /// Its place among all tokens by logit, then by id; the likeliest has 1.
    pub rank: usize,
    /// The likeliest tokens with theirs, best first; of equals, the lowest id.
    pub top: Vec<(Token, f32)>,
}

impl Logprobs {
    /// Of `token`, which is within the vocabulary, and of the `num_top` likeliest. `logits`: `[vocab]`
    ///
    /// A function of the row alone, so it gives the same bits whoever else is in the batch and whatever was drafted.
    pub fn new(logits: &[f32], token: Token, num_top: usize) -> Self {
        let normaliser = log_sum_exp(logits);
        let chosen = logits[token as usize];
        let stands_before = |&(id, logit): &(usize, &f32)| {
            *logit > chosen || (*logit == chosen && id < token as usize)
        };
        let top = top_k(logits, num_top).into_iter();
        Self {
            chosen: chosen - normaliser,
            rank: 1 + logits.iter().enumerate().filter(stands_before).count(),
            top: top
                .map(|best| (best.token, best.score - normaliser))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against double precision and a sort, with ties, a tail and an impossible token.
    #[test]
    fn values_ranks_and_order() {
        let mut logits: Vec<f32> = (0..1000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 200.0 - 7.0)
            .collect();
        (logits[17], logits[400]) = (30.0, 30.0);
        logits[5] = f32::NEG_INFINITY;
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let mut sorted: Vec<usize> = (0..logits.len()).collect();
        sorted.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        for num_top in [0, 1, 2, 20, 1000] {
            for (place, &token) in sorted.iter().enumerate() {
                let got = Logprobs::new(&logits, token as Token, num_top);
                let want = f64::from(logits[token]) - total.ln();
                let error = (f64::from(got.chosen) - want).abs();
                assert!(got.chosen as f64 == want || error < 1e-5, "{got:?}, {want}");
                assert_eq!(got.rank, place + 1);
                let tokens: Vec<usize> = got.top.iter().map(|&(t, _)| t as usize).collect();
                assert_eq!(tokens, sorted[..num_top]);
                if let Some(&(_, logprob)) = got.top.get(place) {
                    assert_eq!(logprob.to_bits(), got.chosen.to_bits());
                }
            }
        }
    }

    #[test]
    fn broken_logits_break_nothing() {
        let logits = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
        for token in 0..4 {
            assert!(Logprobs::new(&logits, token, 4).top.len() <= 4);
        }
        assert!(Logprobs::new(&[f32::NEG_INFINITY; 4], 0, 2).chosen.is_nan());
    }
}
