//! What may follow a node, by a network's logits.

use foretoken_kernels::{Scores, log_sum_exp};
use foretoken_model::{Sampler, SamplingParams, Token};

use crate::ranking::{MAX_CHILDREN, Ranking, Successor};

/// Tokens that are ranked where noise can lift unlikely ones.
const MAX_RANKED: usize = 1024;

/// Less likely tokens are left out.
const MIN_CHANCE: f32 = 1e-3;

/// A request's sampler, asked as if a network's logits were the target's.
#[derive(Debug)]
pub(crate) struct Guesser<'a> {
    sampler: Sampler,
    ranking: Ranking<'a>,
    num_ranked: usize,
    own: Vec<Successor>,
    ranked: Vec<Successor>,
}

impl<'a> Guesser<'a> {
    /// The guesser of one request. Penalties are not regarded.
    pub(crate) fn new(sampling: &'a SamplingParams) -> Self {
        let without_penalties = SamplingParams {
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            ..sampling.clone()
        };
        Self {
            sampler: Sampler::new(without_penalties, &[]),
            ranking: Ranking::new(sampling),
            num_ranked: match sampling.is_greedy() {
                true => MAX_CHILDREN,
                false => MAX_RANKED,
            },
            own: Vec::new(),
            ranked: Vec::new(),
        }
    }

    /// What may stand at `position`, best first, with chances to be what the target says: first what the sampler makes
    /// of these logits, then those that come next. Nothing, if the logits make no distribution. `logits`: `[vocab]`
    pub(crate) fn guess(&mut self, logits: &[f32], position: usize) -> &[Successor] {
        self.ranked.clear();
        let log_sum = log_sum_exp(logits);
        if !log_sum.is_finite() {
            return &self.ranked;
        }
        let scores = Scores {
            logits,
            temperature: 1.0,
        };
        let own = |token, logit: f32| Successor {
            token,
            chance: (logit - log_sum).exp(),
        };
        let floor = log_sum + self.ranking.least_own(MIN_CHANCE).ln();
        let likely = scores.top_k(self.num_ranked, floor).into_iter();
        self.own.clear();
        self.own
            .extend(likely.map(|candidate| own(candidate.token, candidate.score)));
        let said = self.sampler.sample(logits, position);
        if self.own.iter().all(|guess| guess.token != said) {
            self.own.push(own(said, scores.at(said)));
        }
        (self.ranking).rank(&mut self.own, position, MIN_CHANCE, &mut self.ranked);
        self.put_first(said);
        &self.ranked
    }

    /// The ranking knows the filters only roughly. Its chances go by place, and those stay.
    fn put_first(&mut self, said: Token) {
        let Some(last) = self.ranked.len().checked_sub(1) else {
            return;
        };
        let place = self.ranked.iter().position(|guess| guess.token == said);
        for place in (0..place.unwrap_or(last)).rev() {
            self.ranked[place + 1].token = self.ranked[place].token;
        }
        self.ranked[0].token = said;
    }
}
