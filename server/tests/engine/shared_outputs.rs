//! Outputs that later requests are drafted: only where asked for, only under the same salt, and never heard in the text.

use crate::support::{Answer, Ask, Setup, answers, stories};
use foretoken_draft::Lookup;
use foretoken_model::{Dtype, SamplingParams};

const NUM_TOKENS: usize = 45;
const BUDGET: usize = 8;

fn ask(cache_salt: Option<&'static str>, temperature: f32) -> Ask {
    let sampling = SamplingParams {
        temperature,
        seed: 3,
        ..SamplingParams::greedy()
    };
    let ask = Ask::new((300..340).collect(), sampling, NUM_TOKENS);
    Ask {
        cache_salt,
        ..ask.drafted(Some("lookup"), BUDGET)
    }
}

#[test]
fn the_second_of_two_equal_requests_is_drafted_the_first_ones_answer() {
    for temperature in [0.0, 1.0] {
        let mut engine =
            Setup::new(stories(), Dtype::Float32).engine(vec![Box::new(Lookup::sharing(4096))]);
        let mut say =
            |salt| -> Answer { answers(&mut engine, vec![ask(salt, temperature)]).remove(0) };
        let first = say(None);
        assert!(
            first.stats.num_steps > NUM_TOKENS / 2,
            "it is guessed from itself"
        );
        // All of each tree is right, from the first step on.
        let fewest = NUM_TOKENS.div_ceil(BUDGET + 1);
        for (salt, num_steps) in [
            (Some("a"), first.stats.num_steps),
            (None, fewest),
            (Some("b"), first.stats.num_steps),
            (Some("a"), fewest),
        ] {
            let got = say(salt);
            assert_eq!(got.tokens, first.tokens);
            assert_eq!(
                got.stats.num_steps, num_steps,
                "{salt:?}, T = {temperature}"
            );
        }
    }
}
