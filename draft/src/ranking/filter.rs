//! What a request's sampler would not let pass.

use std::cmp::Ordering;

use foretoken_model::SamplingParams;

use super::Successor;

/// Drops the guesses that the sampler would drop if their chances were the target's: min-p, top-k, top-p, at a
/// temperature above 0. For top-p, all that was not guessed counts as one token.
pub(crate) fn filter(guesses: &mut Vec<Successor>, sampling: &SamplingParams) {
    let &SamplingParams {
        temperature,
        top_k,
        top_p,
        min_p,
        ..
    } = sampling;
    if top_k == 0 && top_p >= 1.0 && min_p <= 0.0 {
        return;
    }
    let rest = 1.0 - guesses.iter().map(|guess| guess.chance).sum::<f32>();
    guesses.sort_unstable_by(best_first);
    let Some(&Successor { chance: best, .. }) = guesses.first() else {
        return;
    };
    let weight = |chance: f32| (chance / best).powf(1.0 / temperature);
    guesses.truncate(guesses.partition_point(|guess| weight(guess.chance) >= min_p));
    if top_k > 0 {
        guesses.truncate(top_k as usize);
    }
    if top_p < 1.0 {
        let weights = guesses.iter().map(|guess| weight(guess.chance));
        let mut wanted = top_p * (weights.sum::<f32>() + weight(rest.max(0.0)));
        let nucleus = guesses.iter().take_while(|guess| {
            let taken = wanted > 0.0;
            wanted -= weight(guess.chance);
            taken
        });
        guesses.truncate(nucleus.count());
    }
}

/// The sampler's order: of equals, the lower id.
fn best_first(a: &Successor, b: &Successor) -> Ordering {
    b.chance.total_cmp(&a.chance).then(a.token.cmp(&b.token))
}

#[cfg(test)]
mod tests {
    use foretoken_model::Token;

    use super::*;

    #[test]
    fn what_the_sampler_drops_is_no_guess() {
        // At T = 1 .5 : .25 : .15 : .05 and .05 for the rest, at T = 1/2 .25 : .0625 : .0225 : .0025 and .0025.
        let guesses = [(1, 0.25), (0, 0.5), (3, 0.05), (2, 0.15)]
            .map(|(token, chance)| Successor::new(token, chance, "test"));
        let cases = [
            (1.0, 0, 1.0, 0.0, 4),
            (1.0, 2, 1.0, 0.0, 2),
            (1.0, 9, 1.0, 0.0, 4),
            (1.0, 0, 0.4, 0.0, 1),
            (1.0, 0, 0.7, 0.0, 2),
            (1.0, 0, 0.8, 0.0, 3),
            (1.0, 0, 0.97, 0.0, 4),
            (0.5, 0, 0.7, 0.0, 1),
            (0.5, 0, 0.8, 0.0, 2),
            (1.0, 0, 1.0, 0.29, 3),
            (1.0, 0, 1.0, 1.0, 1),
            (0.5, 0, 1.0, 0.29, 1),
            (1.0, 2, 0.01, 0.29, 1),
        ];
        for case in cases {
            let (temperature, top_k, top_p, min_p, kept) = case;
            let sampling = SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                ..SamplingParams::greedy()
            };
            let mut guesses = guesses.to_vec();
            filter(&mut guesses, &sampling);
            let mut tokens: Vec<Token> = guesses.iter().map(|guess| guess.token).collect();
            tokens.sort_unstable();
            assert_eq!(tokens, (0..kept).collect::<Vec<Token>>(), "{case:?}");
        }
        let nothing = &mut Vec::new();
        let sampling = SamplingParams {
            temperature: 1.0,
            top_k: 1,
            ..SamplingParams::greedy()
        };
        filter(nothing, &sampling);
        assert!(nothing.is_empty());
    }
}
