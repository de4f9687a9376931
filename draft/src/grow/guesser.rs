//! What may follow a node, by a network's logits.

use foretoken_kernels::{Scores, log_sum_exp};
use foretoken_model::{Sampler, SamplingParams, Token};

use crate::ranking::{MAX_CHILDREN, Ranking, Successor};

/// Tokens that are ranked where noise can lift unlikely ones.
const MAX_RANKED: usize = 1024;

/// Less likely tokens are left out.
const MIN_CHANCE: f32 = 1e-3;

/// A request's sampler, asked as if a network's logits were the target's. Penalties are not regarded.
#[derive(Debug)]
pub(crate) struct Guesser<'a> {
    sampler: Sampler,
    ranking: Ranking<'a>,
    bias: &'a [(Token, f32)],
    num_ranked: usize,
    source: &'static str,
    /// Whose logits these are, if not all tokens'.
    draft_vocab: Option<&'a [Token]>,
}

/// Room to guess in, kept from guess to guess.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    biased: Vec<f32>,
    own: Vec<Successor>,
    ranked: Vec<Successor>,
}

impl<'a> Guesser<'a> {
    /// The guesser of one request, in the name of `source`.
    pub(crate) fn new(
        sampling: &'a SamplingParams,
        source: &'static str,
        draft_vocab: Option<&'a [Token]>,
    ) -> Self {
        Self {
            sampler: Sampler::new(sampling.clone(), &[]),
            ranking: Ranking::new(sampling),
            bias: &sampling.logit_bias,
            num_ranked: match sampling.is_greedy() {
                true => MAX_CHILDREN,
                false => MAX_RANKED,
            },
            source,
            draft_vocab,
        }
    }

    /// What may stand at `position`, best first, with chances to be what the target says: first what the sampler makes
    /// of these logits, then those that come next. Nothing, if the logits make no distribution.
    ///
    /// `logits`: `[draft vocab]`
    pub(crate) fn guess<'s>(
        &self,
        logits: &[f32],
        position: usize,
        scratch: &'s mut Scratch,
    ) -> &'s [Successor] {
        let Scratch {
            biased,
            own,
            ranked,
        } = scratch;
        let logits = match self.bias {
            [] => logits,
            _ => self.add_bias(logits, biased),
        };
        ranked.clear();
        let log_sum = log_sum_exp(logits);
        if !log_sum.is_finite() {
            return ranked;
        }
        let scores = Scores {
            logits,
            temperature: 1.0,
        };
        let floor = log_sum + self.ranking.least_own(MIN_CHANCE).ln();
        own.clear();
        own.extend(scores.top_k(self.num_ranked, floor).iter().map(|likely| {
            let chance = (likely.score - log_sum).exp();
            Successor::new(self.token(likely.token), chance, self.source)
        }));
        // Of a part of the tokens the sampler cannot be asked: its noise goes by the whole.
        let said = match self.draft_vocab {
            None if !self.ranking.is_greedy() => Some(self.sampler.draw(logits, position)),
            _ => None,
        };
        if let Some(said) = said
            && own.iter().all(|guess| guess.token != said)
        {
            let chance = (scores.at(said) - log_sum).exp();
            own.push(Successor::new(said, chance, self.source));
        }
        self.ranking.rank(own, position, MIN_CHANCE, ranked);
        if let Some(said) = said {
            put_first(said, ranked);
        }
        ranked
    }

    fn token(&self, place: u32) -> Token {
        self.draft_vocab
            .map_or(place, |tokens| tokens[place as usize])
    }

    fn add_bias<'s>(&self, logits: &[f32], biased: &'s mut Vec<f32>) -> &'s [f32] {
        biased.clear();
        biased.extend_from_slice(logits);
        for &(token, bias) in self.bias {
            let place = match self.draft_vocab {
                Some(tokens) => tokens.iter().position(|&other| other == token),
                None => Some(token as usize),
            };
            if let Some(logit) = place.and_then(|place| biased.get_mut(place)) {
                *logit += bias;
            }
        }
        biased
    }
}

/// The ranking knows the filters only roughly. Its chances go by place, and those stay.
fn put_first(said: Token, ranked: &mut [Successor]) {
    let Some(last) = ranked.len().checked_sub(1) else {
        return;
    };
    let place = ranked.iter().position(|guess| guess.token == said);
    for place in (0..place.unwrap_or(last)).rev() {
        ranked[place + 1].token = ranked[place].token;
    }
    ranked[0].token = said;
}
