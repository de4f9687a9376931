//! How the next token is drawn: a pure function of logits, history, position and seed.
//!
//! The order is part of the contract: logit bias, penalties, temperature, min-p, top-k, top-p over what is left; then
//! `argmax(logit / T + noise)` over the survivors. Candidates sort by (logit descending, id ascending).

use std::collections::HashMap;

use foretoken_kernels::{Candidate, Draw, Noise, RowSampling, Scores, best, nucleus_len};

use crate::Token;
use crate::nucleus::Nucleus;
use crate::sampling_params::SamplingParams;

/// One request's sampler and the history that its penalties look at.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    noise: Noise,
    seen: HashMap<Token, Seen>,
    scratch: Vec<f32>,
}

/// How often a token occurred.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    in_output: u32,
}

impl Sampler {
    /// A sampler that has seen the prompt.
    pub fn new(params: SamplingParams, prompt: &[Token]) -> Self {
        let noise = Noise::new(params.seed);
        let mut sampler = Self {
            params,
            noise,
            seen: HashMap::new(),
            scratch: Vec::new(),
        };
        if sampler.has_penalties() {
            sampler
                .seen
                .extend(prompt.iter().map(|&token| (token, Seen::default())));
        }
        sampler
    }

    /// What the request asked for.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// How a device draws the token that stands at `position`; none where a row does not tell alone, because logits are
    /// changed first: by a bias, or by penalties, which go by the tokens before it.
    pub fn row_sampling(&self, position: usize) -> Option<RowSampling> {
        let SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.params;
        (!self.changes_logits()).then_some(RowSampling {
            noise: self.noise,
            position,
            temperature: match self.params.is_greedy() {
                true => 0.0,
                false => temperature,
            },
            min_p,
            top_k,
            top_p,
        })
    }

    /// Draws the token that stands at `position`, and remembers it for the penalties of those behind it.
    ///
    /// `logits`: `[vocab]`, the model's scores after `position - 1`.
    pub fn sample(&mut self, logits: &[f32], position: usize) -> Token {
        let token = match self.changes_logits() {
            true => {
                let mut changed = std::mem::take(&mut self.scratch);
                changed.clear();
                changed.extend_from_slice(logits);
                self.bias_and_penalise(&mut changed);
                let token = self.draw(&changed, position);
                self.scratch = changed;
                token
            }
            false => self.draw(logits, position),
        };
        if self.has_penalties() {
            self.seen.entry(token).or_default().in_output += 1;
        }
        token
    }

    fn changes_logits(&self) -> bool {
        self.has_penalties() || !self.params.logit_bias.is_empty()
    }

    fn has_penalties(&self) -> bool {
        let SamplingParams {
            presence_penalty,
            frequency_penalty,
            repetition_penalty,
            ..
        } = self.params;
        presence_penalty != 0.0 || frequency_penalty != 0.0 || repetition_penalty != 1.0
    }

    fn bias_and_penalise(&self, scores: &mut [f32]) {
        for &(token, bias) in &self.params.logit_bias {
            if let Some(score) = scores.get_mut(token as usize) {
                *score += bias;
            }
        }
        // Each token's score is changed by its own history alone, so the order of the map does not matter.
        for (&token, seen) in &self.seen {
            let Some(score) = scores.get_mut(token as usize) else {
                continue;
            };
            match *score > 0.0 {
                true => *score /= self.params.repetition_penalty,
                false => *score *= self.params.repetition_penalty,
            }
            if seen.in_output > 0 {
                *score -= self.params.frequency_penalty * seen.in_output as f32;
                *score -= self.params.presence_penalty;
            }
        }
    }

    /// Draws the token that stands at `position` from logits as they are: without bias and penalties, and nothing is
    /// remembered.
    pub fn draw(&self, logits: &[f32], position: usize) -> Token {
        let likeliest = best(logits);
        if self.params.is_greedy() {
            return likeliest.token;
        }
        let scores = Scores {
            logits,
            temperature: self.params.temperature,
        };
        // Division keeps the order, so the best score is the best logit's.
        let likeliest = Candidate {
            score: likeliest.score / scores.temperature,
            ..likeliest
        };
        let floor = match self.params.min_p > 0.0 {
            true => likeliest.score + self.params.min_p.ln(),
            false => f32::NEG_INFINITY,
        };
        let draw = Draw {
            scores,
            best: likeliest,
            floor,
            noise: self.noise,
            position,
        };
        if self.params.top_k == 0 && self.params.top_p >= 1.0 {
            return draw.before(Candidate::LAST).token;
        }
        if self.params.top_k == 0
            && let Some(token) = Nucleus::new(&draw, self.params.top_p).draw()
        {
            return token;
        }
        self.draw_sorted(&draw)
    }

    /// Draws among what min-p, top-k and top-p leave, sorted first.
    fn draw_sorted(&self, draw: &Draw<'_>) -> Token {
        let k = match self.params.top_k {
            0 => draw.scores.logits.len(),
            k => k as usize,
        };
        let mut candidates = draw.scores.top_k(k, draw.floor);
        if self.params.top_p < 1.0 {
            candidates.truncate(nucleus_len(&candidates, self.params.top_p));
        }
        let perturbed = candidates.iter().map(|candidate| Candidate {
            score: candidate.score + self.noise.at(draw.position, candidate.token),
            ..*candidate
        });
        perturbed
            .min_by(Candidate::order)
            .map_or(draw.best.token, |candidate| candidate.token)
    }
}

#[cfg(test)]
mod tests;
