//! `top_k`: the best few of a row.

use super::block::{for_each_block, largest};
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
                k,
                floor,
                found: &mut found,
            });
        }
        found.into_iter().map(candidate).collect()
    }
}

struct TopK<'a> {
    scores: Scores<'a>,
    k: usize,
    /// Lower scores have no place.
    floor: f32,
    /// Places of tokens.
    found: &'a mut Vec<u64>,
}

impl Kernel for TopK<'_> {
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        // Selecting among so many at once is cheap for each, and the floor rises soon enough.
        let room = self.k.max(16).saturating_mul(2);
        let Scores {
            logits: row,
            temperature,
        } = self.scores;
        for_each_block(row, |first_token, logits| {
            // A block of NaNs has no largest number, and is passed over below.
            if largest::<V>(logits) / temperature < self.floor {
                return;
            }
            let scores = logits.map(|logit| logit / temperature);
            let num_left = row.len() - first_token as usize;
            for (token, score) in (first_token..).zip(scores.into_iter().take(num_left)) {
                if score >= self.floor {
                    self.found.push(place(token, score));
                }
            }
            if self.found.len() >= room {
                self.select();
            }
        });
        if self.found.len() > self.k {
            self.select();
        }
        self.found.sort_unstable();
    }
}

impl TopK<'_> {
    /// Keeps the best k.
    fn select(&mut self) {
        let (_, &mut last, _) = self.found.select_nth_unstable(self.k - 1);
        // Tokens come in the order of their ids, so an equal one stands behind.
        self.floor = candidate(last).score.next_up();
        self.found.truncate(self.k);
    }
}

/// A number that orders as candidates do: by the score, highest first, then by the token.
#[inline(always)]
fn place(token: u32, score: f32) -> u64 {
    // Minus zero is zero.
    let bits = (score + 0.0).to_bits();
    let descending = if bits >> 31 == 1 { bits } else { !bits & !SIGN };
    u64::from(descending) << 32 | u64::from(token)
}

fn candidate(place: u64) -> Candidate {
    let descending = (place >> 32) as u32;
    let bits = if descending >> 31 == 1 {
        descending
    } else {
        !descending & !SIGN
    };
    Candidate {
        token: place as u32,
        score: f32::from_bits(bits),
    }
}

const SIGN: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_every_kind;

    /// Values by a rule, out of few, so that there are ties.
    fn row(len: usize, values: &[f32]) -> Vec<f32> {
        (0..len)
            .map(|token| values[token * token * 7 % 101 % values.len()])
            .collect()
    }

    #[test]
    fn the_first_k_of_the_sorted_row() {
        let values = [
            1.5,
            -0.0,
            0.0,
            f32::NAN,
            -3.25,
            f32::NEG_INFINITY,
            7.0,
            1e30,
            -1e-40,
            f32::INFINITY,
        ];
        on_every_kind(|kind| {
            for num_values in 1..=values.len() {
                for len in [0, 1, 63, 64, 65, 1000] {
                    let row = row(len, &values[..num_values]);
                    let mut sorted: Vec<Candidate> = (0..)
                        .zip(row.iter().copied())
                        .map(|(token, score)| Candidate { token, score })
                        .filter(|candidate| !candidate.score.is_nan())
                        .collect();
                    sorted.sort_by(Candidate::order);
                    for k in [0, 1, 2, 8, 16, 300, usize::MAX] {
                        let got = top_k(&row, k);
                        assert_eq!(got, sorted[..k.min(sorted.len())], "{kind}: {len}, {k}");
                    }
                    let first = sorted.first().filter(|best| best.score > f32::NEG_INFINITY);
                    let nothing = Candidate {
                        token: 0,
                        score: f32::NEG_INFINITY,
                    };
                    assert_eq!(
                        crate::best(&row),
                        *first.unwrap_or(&nothing),
                        "{kind}: {len}"
                    );
                }
            }
        });
    }
}
