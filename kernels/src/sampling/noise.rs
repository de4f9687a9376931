//! Gumbel noise as a pure function of (seed, position, token).
//!
//! `argmax(logit / T + noise)` is a draw from `softmax(logit / T)`. Because the noise of a place does not depend on
//! who asks, or how often, a token is the same whatever was drafted, and a drafter that asks too guesses what the
//! target will say.

use super::block::BLOCK;
use super::philox::philox;
use crate::math::ln;

/// One request's noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    key: [u32; 2],
}

impl Noise {
    /// No noise is larger: the least exponential variate is 2^-33, and -ln 2^-33 = 22.87.
    pub const MAX: f32 = 22.873_86;

    /// Tokens that share one turn of the generator: `4 * i .. 4 * i + 4`.
    pub const LANES: usize = 4;

    /// The noise of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
        }
    }

    /// What the generator is keyed with.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Standard Gumbel noise of `token` at `position`.
    #[inline]
    pub fn at(&self, position: usize, token: u32) -> f32 {
        gumbel(self.bits_of(position, token))
    }

    /// The random bits of a block of tokens at `position`.
    #[inline(always)]
    pub(crate) fn block(&self, position: usize, first_token: u32) -> [u32; BLOCK] {
        let first = first_token as usize / Self::LANES;
        let mut bits = [0; BLOCK];
        for (group, lanes) in bits.as_chunks_mut().0.iter_mut().enumerate() {
            *lanes = self.bits(position, first + group);
        }
        bits
    }

    /// The random bits of one token at `position`, picked without a branch or an index, so that lanes can do it.
    #[inline(always)]
    pub(crate) fn bits_of(&self, position: usize, token: u32) -> u32 {
        let [a, b, c, d] = self.bits(position, token as usize / Self::LANES);
        let pick = |even, odd| if token & 1 == 0 { even } else { odd };
        if token & 2 == 0 {
            pick(a, b)
        } else {
            pick(c, d)
        }
    }

    #[inline(always)]
    fn bits(&self, position: usize, group: usize) -> [u32; Self::LANES] {
        let position = position as u64;
        philox(
            [group as u32, 0, position as u32, (position >> 32) as u32],
            self.key,
        )
    }
}

/// -ln(-ln u) for a uniform u in (0, 1) with 32 random bits.
#[inline(always)]
pub(crate) fn gumbel(bits: u32) -> f32 {
    -ln(exponential(bits))
}

/// -ln(1 - v), v = (bits + 1/2) / 2^32, with full relative precision at both ends: small values decide who wins.
#[inline(always)]
fn exponential(bits: u32) -> f32 {
    const SCALE: f32 = 1.0 / 4_294_967_296.0;
    let v = (bits as f32 + 0.5) * SCALE;
    let w = 1.0 - v;
    let is_upper = bits >= 1 << 31;
    // All is computed and then chosen from, so that lanes can do it.
    let log = -ln(if is_upper {
        (!bits as f32 + 0.5) * SCALE
    } else {
        w
    });
    // Kahan: the rounding of 1 - v is undone by the quotient, so that tiny v keep their digits.
    let corrected = log * (v / (1.0 - w));
    let lower = if w == 1.0 { v } else { corrected };
    if is_upper { log } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Vector, dispatch, on_every_kind};

    #[test]
    fn the_bits_of_the_noise_are_fixed() {
        let noise = Noise::new(0x0123_4567_89ab_cdef);
        let got = [(0, 0), (0, 1), (7, 3), (2047, 8191), (1 << 33, 5)]
            .map(|(position, token)| noise.at(position, token).to_bits());
        assert_eq!(got, GOLDEN, "{got:#x?}");
    }

    const GOLDEN: [u32; 5] = [
        0xbe77_103a,
        0xbec7_afa3,
        0xbd56_6c30,
        0x3cdb_95d7,
        0xbde5_59ab,
    ];

    #[test]
    fn the_bound_is_the_largest_value_and_the_ends_are_finite() {
        assert!(
            gumbel(0) <= Noise::MAX && gumbel(0) > Noise::MAX - 1e-4,
            "{}",
            gumbel(0)
        );
        let least = gumbel(u32::MAX);
        assert!(least.is_finite() && least < -3.0, "{least}");
        for bits in [1, 2, 1000, (1 << 31) - 1, 1 << 31, u32::MAX - 1] {
            assert!(gumbel(bits) <= gumbel(0) && gumbel(bits) >= least);
        }
    }

    #[test]
    fn mean_and_variance_are_gumbels() {
        let noise = Noise::new(42);
        let values: Vec<f64> = (0..100)
            .flat_map(|position| (0..1000).map(move |token| f64::from(noise.at(position, token))))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 0.577_216).abs() < 0.02, "mean {mean}");
        assert!((variance - 1.644_934).abs() < 0.04, "variance {variance}");
    }

    struct Block<'a>(Noise, usize, u32, &'a mut [u32; BLOCK]);

    impl Kernel for Block<'_> {
        #[inline(always)]
        fn run<V: Vector>(self) {
            *self.3 = self.0.block(self.1, self.2);
        }
    }

    #[test]
    fn a_block_holds_the_bits_of_its_tokens_on_every_kind() {
        let noise = Noise::new(0xfedc_ba98_7654_3210);
        on_every_kind(|kind| {
            for (position, first) in [(0, 0), (5, 64), (1 << 40, 128_192)] {
                let mut bits = [0; BLOCK];
                dispatch(Block(noise, position, first, &mut bits));
                let want = (first..).take(BLOCK).map(|token| noise.at(position, token));
                let place = format!("{kind}: {position}, {first}");
                assert!(want.eq(bits.map(gumbel)), "{place}");
            }
        });
    }

    #[test]
    fn exponential_is_close_to_double_precision() {
        for bits in
            (0..u32::MAX)
                .step_by(9_999_991)
                .chain([0, 1, 2, (1 << 31) - 1, 1 << 31, u32::MAX])
        {
            let want = -(-(f64::from(bits) + 0.5) / 4_294_967_296.0).ln_1p();
            let got = f64::from(exponential(bits));
            assert!((got / want - 1.0).abs() < 1e-6, "{bits}: {got} not {want}");
        }
    }
}
