//! Files of questions in Spec-Bench's format; those in `benches/workloads` are built in.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Deserialize;
use serde_json::Value;

use super::question::Question;

/// The files that need no path.
const BUILT_IN: [(&str, &str); 5] = [
    (
        "dialogue",
        include_str!("../../../workloads/dialogue.jsonl"),
    ),
    (
        "spec_bench",
        include_str!("../../../workloads/spec_bench.jsonl"),
    ),
    ("gsm8k", include_str!("../../../workloads/gsm8k.jsonl")),
    ("mbpp", include_str!("../../../workloads/mbpp.jsonl")),
    ("copy", include_str!("../../../workloads/copy.jsonl")),
];

/// A line. Only the first turn is asked: later ones answer answers.
#[derive(Deserialize)]
struct Line {
    question_id: Value,
    #[serde(default)]
    category: String,
    turns: Vec<String>,
}

/// Reads a built-in file by its name, or any by its path. Shuffled, as categories stand one after another.
pub(super) fn load(name: &str, seed: u64) -> Result<Vec<Question>> {
    let mut questions = match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        Some((_, text)) => parse(text),
        None => {
            let names = BUILT_IN.map(|(name, _)| name).join(", ");
            let text = std::fs::read_to_string(name).with_context(|| {
                format!("`{name}` is no workload ({names}, random, shared-prefix) and cannot be read as a file")
            })?;
            parse(&text)
        }
    }
    .with_context(|| format!("in the workload `{name}`"))?;
    questions.shuffle(&mut StdRng::seed_from_u64(seed));
    Ok(questions)
}

/// The questions of a file, in its order.
pub(super) fn parse(text: &str) -> Result<Vec<Question>> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| question(line).with_context(|| format!("line {}", index + 1)))
        .collect()
}

fn question(line: &str) -> Result<Question> {
    let line: Line = serde_json::from_str(line)?;
    ensure!(!line.turns.is_empty(), "a question without turns");
    Ok(Question {
        id: match line.question_id {
            Value::String(id) => id,
            other => other.to_string(),
        },
        category: line.category,
        prompt: line.turns.into_iter().next().unwrap_or_default(),
        traced: None,
    })
}
