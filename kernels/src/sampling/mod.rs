//! How a token is drawn from a row of logits: noise, the best, the best k, and what share of the law they have.
//!
//! All of it is plain arithmetic on fixed blocks, compiled for this processor's vectors. Nothing here adds up floats
//! in an order of the processor's, so every kind of vector gives the same bits.

mod best;
mod block;
mod draw;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod launches;
mod log_sum_exp;
mod mass;
mod noise;
mod nucleus;
mod perturb;
mod philox;
mod rows;
mod top_k;

pub use best::best;
pub use draw::Draw;
pub use log_sum_exp::log_sum_exp;
pub use noise::Noise;
pub use nucleus::nucleus_len;
pub use rows::{LogitChange, RowSampling, sample_rows};
pub use top_k::top_k;

use std::cmp::Ordering;

/// A token with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token's id.
    pub token: u32,
    /// Its logit, or its logit over the temperature.
    pub score: f32,
}

impl Candidate {
    /// Stands behind every token.
    pub const LAST: Self = Self {
        token: u32::MAX,
        score: f32::NEG_INFINITY,
    };

    /// Best first; of equals, the lowest id.
    #[inline(always)]
    pub fn order(&self, other: &Self) -> Ordering {
        let by_score = other
            .score
            .partial_cmp(&self.score)
            .unwrap_or(Ordering::Equal);
        by_score.then(self.token.cmp(&other.token))
    }
}

/// A row's scores: its logits over a temperature.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// `[vocab]`
    pub logits: &'a [f32],
    /// Above 0.
    pub temperature: f32,
}
