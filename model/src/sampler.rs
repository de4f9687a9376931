//! How the next token is drawn: a pure function of logits, history, position and seed.
//!
//! The order is part of the contract: logit bias, penalties, temperature, min-p, top-k, top-p over what is left; then
//! `argmax(logit / T + noise)` over the survivors. Candidates sort by (logit descending, id ascending).

use std::cmp::Ordering;
use std::collections::HashMap;

use foretoken_kernels::math::exp;

use crate::Token;
use crate::noise::Noise;
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

/// A token that may still be drawn, with its logit over the temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    token: Token,
    score: f32,
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

    /// Draws the token that stands at `position`, and remembers it for the penalties of those behind it.
    ///
    /// `logits`: `[vocab]`, the model's scores after `position - 1`.
    pub fn sample(&mut self, logits: &[f32], position: usize) -> Token {
        let mut scores = std::mem::take(&mut self.scratch);
        scores.clear();
        scores.extend_from_slice(logits);
        self.bias_and_penalise(&mut scores);
        let token = match self.params.is_greedy() {
            true => best(&scores),
            false => self.draw(&mut scores, position),
        };
        self.scratch = scores;
        if self.has_penalties() {
            self.seen.entry(token).or_default().in_output += 1;
        }
        token
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

    fn draw(&self, scores: &mut [f32], position: usize) -> Token {
        for score in &mut *scores {
            *score /= self.params.temperature;
        }
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let floor = match self.params.min_p > 0.0 {
            true => largest + self.params.min_p.ln(),
            false => f32::NEG_INFINITY,
        };
        if self.params.top_k == 0 && self.params.top_p >= 1.0 {
            return self.perturbed_best(scores, largest, floor, position);
        }
        let survivors = self.filter(scores, largest, floor);
        let perturbed = survivors.iter().map(|candidate| Candidate {
            score: candidate.score + self.noise.at(position, candidate.token),
            ..*candidate
        });
        perturbed
            .min_by(Candidate::order)
            .map_or_else(|| best(scores), |candidate| candidate.token)
    }

    /// The best of all tokens from `floor` on, noise added.
    fn perturbed_best(&self, scores: &[f32], largest: f32, floor: f32, position: usize) -> Token {
        let mut winner = Candidate {
            token: best(scores),
            score: f32::NEG_INFINITY,
        };
        // The likeliest token's perturbed score is one that the winner reaches; what even the largest noise does not
        // lift so high needs none.
        let sure = largest + self.noise.at(position, winner.token);
        let floor = floor.max(sure - Noise::MAX);
        for (group, scores) in scores.chunks(Noise::LANES).enumerate() {
            if !scores.iter().any(|&score| score >= floor) {
                continue;
            }
            let noise = self.noise.lanes(position, group);
            for (lane, &score) in scores.iter().enumerate() {
                // Few can still win; the slack is more than what rounding could make of the difference.
                let slack = 0.01 + winner.score.abs() * 1e-6;
                let needed = winner.score - score - slack;
                if score >= floor
                    && let Some(noise) = noise.at_least(lane, needed)
                    && score + noise > winner.score
                {
                    let token = (group * Noise::LANES + lane) as Token;
                    winner = Candidate {
                        token,
                        score: score + noise,
                    };
                }
            }
        }
        winner.token
    }

    /// What min-p, top-k and top-p leave, best first.
    fn filter(&self, scores: &[f32], largest: f32, floor: f32) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = (0..)
            .zip(scores)
            .filter(|&(_, &score)| score >= floor)
            .map(|(token, &score)| Candidate { token, score })
            .collect();
        let top_k = self.params.top_k as usize;
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, Candidate::order);
            candidates.truncate(top_k);
            candidates.sort_unstable_by(Candidate::order);
        }
        if self.params.top_p < 1.0 {
            let kept = nucleus(&mut candidates, largest, self.params.top_p);
            candidates.truncate(kept);
        }
        candidates
    }
}

impl Candidate {
    /// Best first; of equals, the lowest id.
    fn order(&self, other: &Self) -> Ordering {
        let by_score = other
            .score
            .partial_cmp(&self.score)
            .unwrap_or(Ordering::Equal);
        by_score.then(self.token.cmp(&other.token))
    }
}

/// The highest score's token; of equals, the lowest id.
fn best(scores: &[f32]) -> Token {
    let mut winner = (0, f32::NEG_INFINITY);
    for (token, &score) in (0..).zip(scores) {
        if score > winner.1 {
            winner = (token, score);
        }
    }
    winner.0
}

/// Sorts the smallest set of best candidates whose probability reaches `top_p` to the front and counts it.
///
/// Most of a vocabulary never matters, so only as much as the sum needs is sorted.
fn nucleus(candidates: &mut [Candidate], largest: f32, top_p: f32) -> usize {
    let weight = |candidate: &Candidate| f64::from(exp(candidate.score - largest));
    let target = f64::from(top_p) * candidates.iter().map(weight).sum::<f64>();
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let next = rest.len().min((sorted * 3).max(64));
        if next < rest.len() {
            rest.select_nth_unstable_by(next - 1, Candidate::order);
        }
        rest[..next].sort_unstable_by(Candidate::order);
        for candidate in &rest[..next] {
            sorted += 1;
            sum += weight(candidate);
            if sum >= target {
                return sorted;
            }
        }
    }
    sorted
}
