//! `best`: the likeliest token.

use super::Candidate;
use super::block::{for_each_block, largest};
use crate::simd::{Kernel, Vector, dispatch};

/// The token of the highest logit; of equals, the lowest id. NaN is never best; where nothing is above minus infinity,
/// it is token 0, at minus infinity.
pub fn best(logits: &[f32]) -> Candidate {
    let mut best = Candidate {
        token: 0,
        score: f32::NEG_INFINITY,
    };
    dispatch(Best {
        logits,
        best: &mut best,
    });
    best
}

struct Best<'a> {
    logits: &'a [f32],
    best: &'a mut Candidate,
}

impl Kernel for Best<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        for_each_block(self.logits, |first_token, block| {
            let score = largest::<V>(block);
            if score > self.best.score {
                let lane = block.iter().position(|&logit| logit == score);
                let token = first_token + lane.unwrap_or(0) as u32;
                *self.best = Candidate { token, score };
            }
        });
    }
}
