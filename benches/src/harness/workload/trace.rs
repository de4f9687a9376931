//! Traces of arrivals in the format of Azure's LLM inference traces: when a request came, and how long it was.

use std::io::Read;

use anyhow::{Context, Result, bail};
use chrono::NaiveDateTime;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;

use super::question::{Question, Traced};
use super::synthetic;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "TIMESTAMP")]
    timestamp: String,
    #[serde(rename = "ContextTokens")]
    context_tokens: usize,
    #[serde(rename = "GeneratedTokens")]
    generated_tokens: u32,
}

/// Reads a trace; its prompts are so many random words as there were tokens.
pub(super) fn read(path: &str, seed: u64) -> Result<Vec<Question>> {
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot open the trace {path}"))?;
    parse(std::io::BufReader::new(file), seed).with_context(|| format!("in the trace {path}"))
}

/// The requests of a trace, in its order.
pub(super) fn parse(trace: impl Read, seed: u64) -> Result<Vec<Question>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut questions = Vec::new();
    let mut first = None;
    for (index, line) in csv::Reader::from_reader(trace).deserialize().enumerate() {
        let line: Line = line?;
        let time = NaiveDateTime::parse_from_str(&line.timestamp, "%Y-%m-%d %H:%M:%S%.f")
            .with_context(|| format!("the time `{}` of request {index}", line.timestamp))?;
        let Ok(arrival) = (time - *first.get_or_insert(time)).to_std() else {
            bail!(
                "request {index} arrives before the first, at {}",
                line.timestamp
            );
        };
        questions.push(Question {
            id: index.to_string(),
            category: "trace".to_owned(),
            prompt: synthetic::words(line.context_tokens, &mut rng),
            traced: Some(Traced {
                arrival,
                output_len: line.generated_tokens.max(1),
            }),
        });
    }
    Ok(questions)
}
