//! Which guesses come first, and how likely each is to be what the target says.

mod filter;

use foretoken_model::{Noise, SamplingParams, Token};

use filter::filter;

/// A token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Successor {
    /// Which.
    pub token: Token,
    /// How likely it is.
    pub chance: f32,
    /// Who thought of it.
    pub source: &'static str,
}

impl Successor {
    /// A token that a drafter thinks of.
    pub fn new(token: Token, chance: f32, source: &'static str) -> Self {
        Self {
            token,
            chance,
            source,
        }
    }
}

/// Guesses that are kept of those at one token.
pub(crate) const MAX_CHILDREN: usize = 12;

/// What the rest's score is raised by: it speaks for many tokens, one of which may be lucky.
const REST_BONUS: f32 = 0.6;

/// Noise that lifts a token higher is too rare to look for where only a likely token is of use.
const LIFT: f32 = 3.0;

/// Ranks guesses as a request's sampler ranks tokens: with its filters and its noise.
///
/// A drafter has chances q of its own, the target draws `argmax(ln p / T + g)`. Guesses are scored `ln q + T g` with
/// the same noise g: the same order, if q were p. How far q can be trusted is what the chances have to tell that a
/// guess is what the target says: the shares of `exp(k score)` among the guesses and the rest, which has the chance q
/// of all that is not among them. k = 1 / (1 + T / 2), since a lead that owes to noise is worth less.
///
/// Both constants were fitted to answers of the carried model. There, trees of 8 nodes promised 2.3 accepted tokens a
/// step at T = 0 where 3.2 were (it repeats itself), 1.2 at T = 0.7 and top-p 0.9 where 1.3 were, and 1.0 at T = 1 where
/// 0.7 were.
#[derive(Debug)]
pub(crate) struct Ranking<'a> {
    sampling: &'a SamplingParams,
    /// 0 where the best token is taken.
    temperature: f32,
    noise: Noise,
}

impl<'a> Ranking<'a> {
    /// The ranking of one request. Logit bias and penalties are not regarded.
    pub(crate) fn new(sampling: &'a SamplingParams) -> Self {
        let temperature = match sampling.is_greedy() {
            true => 0.0,
            false => sampling.temperature,
        };
        Self {
            sampling,
            temperature,
            noise: Noise::new(sampling.seed),
        }
    }

    /// True if the best token is taken.
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// The least chance of the drafter's own that could become one of `least` in the ranking: noise can lift a token.
    pub(crate) fn least_own(&self, least: f32) -> f32 {
        least * (-LIFT * self.temperature).exp()
    }

    /// Ranks guesses at the token of `position`: `guesses` come with the drafter's own chances, in any order, and may
    /// be left in another; the best go to `ranked`, best first, with chances to be what the target says. Those whose
    /// chance would be below `least` may be left out.
    pub(crate) fn rank(
        &self,
        guesses: &mut Vec<Successor>,
        position: usize,
        least: f32,
        ranked: &mut Vec<Successor>,
    ) {
        let trust = 1.0 / (1.0 + self.temperature / 2.0);
        let mut reach = f32::NEG_INFINITY;
        if self.temperature > 0.0 {
            filter(guesses, self.sampling);
            reach = least.ln() / trust;
        }
        let mut best = Best::default();
        for batch in guesses.chunks(Noise::BATCH) {
            for (&guess, score) in batch.iter().zip(self.scores(batch, position)) {
                if score >= best.floor().max(best.highest() + reach) {
                    best.insert(score, guess);
                }
            }
        }
        let best = best.entries();
        let rest = 1.0 - sum(best.iter().map(|&(_, guess)| guess));
        let rest = rest.max(0.0).ln() + REST_BONUS;
        let highest = best.first().map_or(rest, |&(score, _)| score.max(rest));
        let part = |score: f32| ((score - highest) * trust).exp();
        ranked.clear();
        ranked.extend(best.iter().map(|&(score, guess)| Successor {
            chance: part(score),
            ..guess
        }));
        let whole = part(rest) + sum(ranked.iter().copied());
        for guess in ranked {
            guess.chance /= whole;
        }
    }

    /// `ln q + T g` of each guess.
    fn scores(&self, batch: &[Successor], position: usize) -> [f32; Noise::BATCH] {
        let mut tokens = [0; Noise::BATCH];
        let mut chances = [1.0; Noise::BATCH];
        for ((token, chance), guess) in tokens.iter_mut().zip(&mut chances).zip(batch) {
            (*token, *chance) = (guess.token, guess.chance);
        }
        self.noise
            .perturb(position, self.temperature, &tokens, &chances)
    }
}

/// The best guesses so far, best first.
struct Best {
    entries: [(f32, Successor); MAX_CHILDREN],
    len: usize,
}

impl Default for Best {
    fn default() -> Self {
        let none = Successor::new(0, 0.0, "");
        Self {
            entries: [(f32::NEG_INFINITY, none); MAX_CHILDREN],
            len: 0,
        }
    }
}

impl Best {
    fn entries(&self) -> &[(f32, Successor)] {
        &self.entries[..self.len]
    }

    /// The best guess's score.
    fn highest(&self) -> f32 {
        self.entries[0].0
    }

    /// Lower scores have no place here.
    fn floor(&self) -> f32 {
        self.entries[MAX_CHILDREN - 1].0
    }

    fn insert(&mut self, score: f32, guess: Successor) {
        let place = self
            .entries()
            .partition_point(|&(other, Successor { token, .. })| {
                other > score || other == score && token < guess.token
            });
        if place < MAX_CHILDREN {
            self.len = MAX_CHILDREN.min(self.len + 1);
            self.entries[place..self.len].rotate_right(1);
            self.entries[place] = (score, guess);
        }
    }
}

fn sum(guesses: impl Iterator<Item = Successor>) -> f32 {
    guesses.map(|guess| guess.chance).sum()
}

#[cfg(test)]
mod tests {
    use foretoken_model::Sampler;

    use super::*;

    fn sampling(temperature: f32, seed: u64) -> SamplingParams {
        SamplingParams {
            temperature,
            seed,
            ..SamplingParams::greedy()
        }
    }

    /// A distribution over `0..num_tokens` with a long tail, in no order.
    fn distribution(num_tokens: Token) -> Vec<Successor> {
        let weight = |token: Token| 1.0 / (1.0 + (token * 37 % num_tokens) as f32);
        let total: f32 = (0..num_tokens).map(weight).sum();
        let successor = |token| Successor::new(token, weight(token) / total, "test");
        (0..num_tokens).map(successor).collect()
    }

    fn ranked(sampling: &SamplingParams, guesses: &[Successor], position: usize) -> Vec<Successor> {
        let mut ranked = Vec::new();
        Ranking::new(sampling).rank(&mut guesses.to_vec(), position, 0.0, &mut ranked);
        ranked
    }

    fn tokens(ranked: &[Successor]) -> Vec<Token> {
        ranked.iter().map(|guess| guess.token).collect()
    }

    /// What the target says if the guesses' chances are its own.
    fn said(sampling: &SamplingParams, guesses: &[Successor], position: usize) -> Token {
        let logits: Vec<f32> = guesses.iter().map(|guess| guess.chance.ln()).collect();
        Sampler::new(sampling.clone(), &[]).sample(&logits, position)
    }

    #[test]
    fn a_drafter_with_the_targets_own_chances_says_what_the_target_says() {
        let target = distribution(50);
        let plain = SamplingParams::greedy();
        #[rustfmt::skip]
        let filters = [
            plain.clone(),
            SamplingParams { top_k: 3, ..plain.clone() },
            SamplingParams { top_p: 0.8, ..plain.clone() },
            SamplingParams { min_p: 0.2, top_p: 0.9, ..plain.clone() },
        ];
        for temperature in [0.0, 0.3, 1.0, 1.6] {
            for (seed, filter) in (0..400).zip(filters.iter().cycle()) {
                let position = 1000 + seed as usize;
                let sampling = SamplingParams {
                    temperature,
                    seed,
                    ..filter.clone()
                };
                let first = ranked(&sampling, &target, position)[0].token;
                assert_eq!(first, said(&sampling, &target, position), "{sampling:?}");
            }
        }
    }

    #[test]
    fn the_runners_up_are_those_of_the_draw() {
        let (target, position) = (distribution(50), 12);
        for seed in 0..100 {
            let sampling = sampling(0.7, seed);
            let mut left = target.clone();
            for guess in ranked(&sampling, &target, position) {
                assert_eq!(guess.token, said(&sampling, &left, position), "seed {seed}");
                left[guess.token as usize].chance = 0.0;
            }
        }
    }

    #[test]
    fn without_noise_the_likeliest_come_first_ties_by_id() {
        let guesses = [(9, 0.2), (3, 0.2), (5, 0.5)]
            .map(|(token, chance)| Successor::new(token, chance, "test"));
        let got = ranked(&SamplingParams::greedy(), &guesses, 4);
        assert_eq!(tokens(&got), [5, 3, 9]);
    }

    #[test]
    fn chances_fall_and_leave_something_for_the_rest() {
        for (temperature, share) in [(0.0, 0.3), (0.0, 1.0), (1.0, 0.3), (1.0, 1.0), (0.01, 0.9)] {
            for position in 0..50 {
                let mut guesses = distribution(30);
                guesses.iter_mut().for_each(|guess| guess.chance *= share);
                let got = ranked(&sampling(temperature, 5), &guesses, position);
                assert_eq!(got.len(), MAX_CHILDREN);
                assert!(got.is_sorted_by(|a, b| a.chance >= b.chance), "{got:?}");
                assert!(
                    got.iter().all(|guess| (0.0..=1.0).contains(&guess.chance)),
                    "{got:?}"
                );
                assert!(sum(got.into_iter()) < 1.0 + 1e-6);
            }
        }
        assert_eq!(ranked(&sampling(1.0, 5), &[], 3), []);
        let certain = Successor::new(1, 1.0, "test");
        assert_eq!(ranked(&SamplingParams::greedy(), &[certain], 3), [certain]);
    }
}
