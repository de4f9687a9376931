//! Predictions make answers come faster where they are right, and change nothing else.

use crate::support::{Answer, Ask, Setup, answers, stories};
use foretoken_draft::{Auto, Drafter, Lookup, PREDICTION, Trigram};
use foretoken_model::{Dtype, SamplingParams, Token};
use foretoken_server::engine::Engine;

const NUM_TOKENS: usize = 60;
const BUDGET: usize = 8;

fn ask(temperature: f32) -> Ask {
    let sampling = SamplingParams {
        temperature,
        seed: 11,
        ..SamplingParams::greedy()
    };
    // No token twice: the text itself gives little to draft from.
    Ask::new((300..340).collect(), sampling, NUM_TOKENS)
}

fn engine() -> Engine {
    let drafters: Vec<Box<dyn Drafter>> = vec![
        Box::new(Auto::new(Trigram::new(None), Lookup::new(), None)),
        Box::new(Lookup::new()),
        Box::new(Trigram::new(None)),
    ];
    Setup::new(stories(), Dtype::Float32).engine(drafters)
}

fn predicted(ask: &Ask, drafter: &'static str, prediction: &[Token]) -> Answer {
    let ask = Ask {
        prediction: prediction.to_vec(),
        ..ask.clone().drafted(Some(drafter), BUDGET)
    };
    answers(&mut engine(), vec![ask]).remove(0)
}

#[test]
fn right_or_wrong_a_prediction_leaves_the_text_as_it_is() {
    for temperature in [0.0, 1.0] {
        let ask = ask(temperature);
        let plain = answers(&mut engine(), vec![ask.clone()]).remove(0);
        let right = plain.tokens.clone();
        let mut edited = right.clone();
        edited[20] += 1;
        edited.remove(40);
        let mut cut = right.clone();
        cut.truncate(25);
        let wrong: Vec<Token> = right.iter().map(|token| (token + 1) % 500).collect();
        // Tokens of the prediction that are kept, at least.
        for (prediction, least) in [(right, 52), (edited, 35), (cut, 20), (wrong, 0)] {
            for drafter in ["auto", "lookup", "trigram"] {
                let got = predicted(&ask, drafter, &prediction);
                assert_eq!(got.tokens, plain.tokens, "{drafter}, T = {temperature}");
                assert_eq!(got.finish, plain.finish);
                assert_eq!(got.stats.num_cached_tokens, plain.stats.num_cached_tokens);
                let kept = got.stats.num_accepted_prediction_tokens;
                let num_drafted = got.stats.num_prediction_tokens;
                match drafter {
                    "trigram" => assert_eq!((kept, num_drafted), (0, 0)),
                    _ => {
                        assert!(
                            kept >= least,
                            "{drafter}, T = {temperature}: {kept} of {least}"
                        );
                        assert!(num_drafted >= BUDGET);
                    }
                }
                check_counts(&got);
            }
        }
    }
}

fn check_counts(got: &Answer) {
    let stats = &got.stats;
    let sources = got.emitted.iter().map(|emitted| emitted.source);
    let kept = sources.filter(|&source| source == Some(PREDICTION)).count();
    assert_eq!(stats.num_accepted_prediction_tokens, kept);
    assert!(stats.num_accepted_prediction_tokens <= stats.num_accepted_tokens);
    assert!(stats.num_prediction_tokens <= stats.num_draft_tokens);
    assert_eq!(stats.num_steps + stats.num_accepted_tokens, NUM_TOKENS);
}
