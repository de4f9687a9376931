//! How well a model foresees a text: mean negative log-likelihood per token, and perplexity.
//!
//! `cargo run --release -p foretoken-benches --example perplexity -- FILE [--model DIR --dtype bfloat16]`
//!
//! The text is cut into chunks that are read each on its own; a chunk's first token is not foreseen, the others are.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use foretoken_benches::target::{Format, MAX_NODES, ModelOptions, Target};
use foretoken_model::Token;
use indicatif::{ProgressBar, ProgressStyle};

/// Measures how well a model foresees a text.
#[derive(Parser)]
struct Options {
    /// The text, in UTF-8
    file: PathBuf,
    #[command(flatten)]
    model: ModelOptions,
    /// Number format
    #[arg(long, value_enum, default_value = "auto")]
    dtype: Format,
    /// Tokens of a chunk
    #[arg(long, default_value_t = 512)]
    chunk: usize,
    /// Tokens of the text, at most [default: all]
    #[arg(long)]
    tokens: Option<usize>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let path = &options.file;
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let model = options.model.load(options.dtype)?;
    let mut tokens = model.tokenizer.encode(&text, false)?;
    tokens.truncate(options.tokens.unwrap_or(usize::MAX));
    ensure!(
        options.chunk > 1 && tokens.len() > 1,
        "chunks of {} tokens of {}: at least 2 are needed",
        options.chunk,
        tokens.len()
    );
    let mut target = Target::new(model.llama, options.chunk)?;
    let (sum, count) = options.model.pool()?.install(|| {
        let mut total = (0.0, 0);
        let progress = ProgressBar::new(tokens.len() as u64).with_style(
            ProgressStyle::with_template("{bar:40} {pos}/{len} tokens (ends in {eta})")?,
        );
        for chunk in tokens.chunks(options.chunk) {
            total.0 += negative_log_likelihood(&mut target, chunk)?;
            total.1 += chunk.len() - 1;
            progress.inc(chunk.len() as u64);
        }
        progress.finish_and_clear();
        anyhow::Ok(total)
    })?;
    let mean = sum / count as f64;
    println!(
        "{}, {}, {count} tokens in chunks of {}: {mean:.4} nats a token, perplexity {:.3}",
        options.model.source().name(),
        options.dtype.name(),
        options.chunk,
        mean.exp()
    );
    Ok(())
}

/// Of all tokens of a chunk but the first, in nats. A chain of draft tokens has logits in every row.
fn negative_log_likelihood(target: &mut Target, chunk: &[Token]) -> Result<f64> {
    let mut sum = 0.0;
    let last = chunk.len().saturating_sub(1);
    for start in (0..last).step_by(MAX_NODES) {
        let end = last.min(start + MAX_NODES);
        let logits = target.forward(start, &chunk[start..end])?.read_all()?;
        for (row, &next) in chunk[start + 1..=end].iter().enumerate() {
            let logits = logits.row(row);
            sum += log_sum_exp(logits) - f64::from(logits[next as usize]);
        }
    }
    Ok(sum)
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - most).exp())
        .sum();
    most + sum.ln()
}
