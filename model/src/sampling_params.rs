//! What a request asks of the sampler.

use crate::Token;

/// Sampling parameters of one request, already validated and with the model's defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; below [`SamplingParams::GREEDY`] the best token is taken.
    pub temperature: f32,
    /// Keeps the k best tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of best tokens whose probability reaches this, in (0, 1].
    pub top_p: f32,
    /// Drops tokens less likely than this share of the best one, in [0, 1].
    pub min_p: f32,
    /// Subtracted once from the logit of every token already in the output.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once per occurrence in the output.
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or output; 1 is neutral.
    pub repetition_penalty: f32,
    /// Added to the logits before anything else.
    pub logit_bias: Vec<(Token, f32)>,
    /// Keys the noise: the same seed gives the same tokens, whatever drafts.
    pub seed: u64,
}

impl SamplingParams {
    /// Temperatures below this mean 0: the best token, ties to the lowest id.
    pub const GREEDY: f32 = 1e-5;

    /// The best token at every position, without filters or penalties.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }

    /// True if no noise is drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature < Self::GREEDY
    }
}
