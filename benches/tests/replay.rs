//! What drafting is worth may not fall: recorded answers of the carried model are drafted again.

#![cfg(test)]

use std::path::Path;

use clap::Parser;
use foretoken_benches::harness::replay::{drafters, read, results_of};
use foretoken_server::config::EngineOptions;

const BUDGET: usize = 32;

const TEMPERATURES: [f32; 3] = [0.0, 0.7, 1.0];

/// Tokens of each step at the temperatures above, what they were when this was written less one in a hundred.
const FLOORS: [(&str, [f64; 3]); 3] = [
    ("auto", [3.395, 2.514, 2.056]),
    ("trigram", [3.360, 2.514, 2.056]),
    ("lookup", [1.899, 1.459, 1.137]),
];

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    engine: EngineOptions,
}

#[test]
fn drafters_guess_as_well_as_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/transcripts.jsonl");
    let transcripts = read(&path).unwrap();
    let mut drafters = drafters(&Options::parse_from(["replay"]).engine, &[]).unwrap();
    for (name, floors) in FLOORS {
        let drafter = drafters.iter_mut().find(|drafter| drafter.name() == name);
        let results = results_of(drafter.unwrap().as_mut(), BUDGET, &transcripts, || ()).unwrap();
        for (temperature, floor) in TEMPERATURES.into_iter().zip(floors) {
            let counts = || {
                let of = results
                    .iter()
                    .filter(|result| result.temperature == temperature);
                of.map(|result| result.all)
            };
            let num_tokens: usize = counts().map(|counts| counts.num_tokens).sum();
            let num_steps: usize = counts().map(|counts| counts.num_steps).sum();
            let got = num_tokens as f64 / num_steps as f64;
            println!("{name}, T {temperature}: {got:.4} tokens a step, {floor} at least");
            assert!(
                got >= floor,
                "{name}, T {temperature}: {got:.4} tokens a step, not {floor}"
            );
        }
    }
    assert_eq!(drafters.len(), FLOORS.len(), "a drafter has no floor");
}
