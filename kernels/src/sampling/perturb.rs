//! `Noise::perturb`: scores of a few tokens, as a drafter asks for them.

use super::Noise;
use super::noise::gumbel;
use crate::math::ln;
use crate::simd::{Kernel, Vector, dispatch};

/// Tokens that are perturbed at once.
const BATCH: usize = 16;

impl Noise {
    /// Tokens that [`perturb`](Self::perturb) takes at once.
    pub const BATCH: usize = BATCH;

    /// `ln chance + temperature * noise` of each token at `position`. Chances are positive normal numbers; at a
    /// temperature of 0 their logarithms are left.
    ///
    /// One token takes as long as all of them: a generator's turn and two logarithms are a long chain of operations, but
    /// lanes go through it side by side.
    pub fn perturb(
        &self,
        position: usize,
        temperature: f32,
        tokens: &[u32; BATCH],
        chances: &[f32; BATCH],
    ) -> [f32; BATCH] {
        let mut scores = [0.0; BATCH];
        dispatch(Perturb {
            noise: self,
            position,
            temperature,
            tokens,
            chances,
            scores: &mut scores,
        });
        scores
    }
}

struct Perturb<'a> {
    noise: &'a Noise,
    position: usize,
    temperature: f32,
    tokens: &'a [u32; BATCH],
    chances: &'a [f32; BATCH],
    scores: &'a mut [f32; BATCH],
}

impl Kernel for Perturb<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let (tokens, chances) = (*self.tokens, *self.chances);
        if self.temperature == 0.0 {
            return *self.scores = chances.map(ln);
        }
        let mut scores = [0.0; BATCH];
        for lane in 0..BATCH {
            let noise = gumbel(self.noise.bits_of(self.position, tokens[lane]));
            scores[lane] = ln(chances[lane]) + self.temperature * noise;
        }
        *self.scores = scores;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::on_every_kind;

    #[test]
    fn scores_have_the_bits_of_one_token_at_a_time_on_every_kind() {
        let noise = Noise::new(0xfedc_ba98_7654_3210);
        on_every_kind(|kind| {
            for position in [0, 5, 1 << 40] {
                for first in (0..64_000_u32).step_by(BATCH) {
                    let tokens =
                        std::array::from_fn(|lane| (first + lane as u32).wrapping_mul(0x9e37_79b1));
                    let chances =
                        std::array::from_fn(|lane| 1.0 / (first + 1 + lane as u32) as f32);
                    for temperature in [0.0, 0.7, 1.0] {
                        let got = noise.perturb(position, temperature, &tokens, &chances);
                        let want: [f32; BATCH] = std::array::from_fn(|lane| {
                            ln(chances[lane]) + temperature * noise.at(position, tokens[lane])
                        });
                        assert_eq!(
                            got.map(f32::to_bits),
                            want.map(f32::to_bits),
                            "{kind}: {tokens:?}"
                        );
                    }
                }
            }
        });
    }
}
