//! Outputs that later requests are drafted: only where asked for, only under the same salt, and never heard in the text.

use crate::support::{Answer, Ask, Setup, answers, stories};
use foretoken_draft::{Auto, Drafter, Lookup, Trigram};
use foretoken_model::{Dtype, SamplingParams};
use foretoken_server::engine::Engine;

const NUM_TOKENS: usize = 45;
const BUDGET: usize = 8;

fn ask(drafter: &'static str, cache_salt: Option<&'static str>, temperature: f32) -> Ask {
    let sampling = SamplingParams {
        temperature,
        seed: 3,
        ..SamplingParams::greedy()
    };
    let ask = Ask::new((300..340).collect(), sampling, NUM_TOKENS);
    Ask {
        cache_salt,
        ..ask.drafted(Some(drafter), BUDGET)
    }
}

fn engine() -> Engine {
    let auto = Auto::new(Trigram::new(None), Lookup::sharing(4096), None);
    let drafters: Vec<Box<dyn Drafter>> = vec![Box::new(auto), Box::new(Lookup::sharing(4096))];
    Setup::new(stories(), Dtype::Float32).engine(drafters)
}

fn say(engine: &mut Engine, ask: Ask) -> Answer {
    answers(engine, vec![ask]).remove(0)
}

#[test]
fn the_second_of_two_equal_requests_is_drafted_the_first_ones_answer() {
    for temperature in [0.0, 1.0] {
        let mut engine = engine();
        let mut say = |salt| say(&mut engine, ask("lookup", salt, temperature));
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

#[test]
fn what_is_shared_is_mixed_with_what_else_is_known() {
    for temperature in [0.0, 1.0] {
        let mut engine = engine();
        let mut say = |salt| say(&mut engine, ask("auto", salt, temperature));
        let first = say(None);
        let again = [Some("a"), None].map(say);
        assert!(again.iter().all(|got| got.tokens == first.tokens));
        let [other, same] = again.map(|got| got.stats.num_steps);
        assert!(
            2 * same < other,
            "T = {temperature}: {same} and {other} steps"
        );
    }
}
