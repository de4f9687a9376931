//! What drafting is worth on the carried model: acceptance lengths at fixed budgets, tokens per second on and off.
//!
//! `cargo bench -p foretoken-benches --bench engine [-- --questions N --tokens N]`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use foretoken_model::chat_template::Message;
use foretoken_server::admission::Frontend;
use foretoken_server::config::EngineOptions;
use foretoken_server::launch::launch;
use foretoken_server::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

const WORKLOADS: [&str; 4] = ["spec_bench", "gsm8k", "mbpp", "dialogue"];
const DRAFTERS: [&str; 2] = ["trigram", "lookup"];
const BUDGETS: [u32; 2] = [8, 32];
const TEMPERATURES: [f32; 2] = [0.0, 1.0];

/// Measures what drafting is worth.
#[derive(Parser)]
struct Options {
    /// First questions of each workload
    #[arg(long, default_value_t = 12)]
    questions: usize,
    /// Tokens of each answer, at most
    #[arg(long, default_value_t = 128)]
    tokens: u32,
    #[command(flatten)]
    engine: EngineOptions,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// A line of a workload file, in Spec-Bench's format.
#[derive(Deserialize)]
struct Question {
    turns: Vec<String>,
}

/// One way of answering a workload.
#[derive(Clone, Copy)]
struct Setting {
    drafter: &'static str,
    /// Nodes that are always verified; none leaves it to the server's defaults.
    budget: Option<u32>,
    temperature: f32,
}

/// What the answers to a workload took.
#[derive(Default)]
struct Totals {
    num_tokens: usize,
    num_steps: usize,
    decode: Duration,
}

impl Totals {
    /// Tokens per step; every step of a fixed budget holds a draft wherever the drafter has one.
    fn acceptance_length(&self) -> f64 {
        self.num_tokens as f64 / self.num_steps as f64
    }

    /// Tokens per second, without the prompt's.
    fn speed(&self) -> f64 {
        self.num_tokens as f64 / self.decode.as_secs_f64()
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let frontend = launch(&options.engine, &[], 1)?.frontend;
    let num_settings = TEMPERATURES.len() * (1 + DRAFTERS.len() * (1 + BUDGETS.len()));
    let progress = ProgressBar::new((WORKLOADS.len() * num_settings) as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} (ends in {eta})")?,
    );
    let mut table = String::new();
    for workload in WORKLOADS {
        let questions = questions(workload, options.questions)?;
        for temperature in TEMPERATURES {
            progress.set_message(format!("{workload}, T = {temperature}"));
            let run = |drafter, budget| -> Result<Totals> {
                let setting = Setting {
                    drafter,
                    budget,
                    temperature,
                };
                let stats =
                    runtime.block_on(answer(&frontend, &questions, options.tokens, setting))?;
                progress.inc(1);
                Ok(stats)
            };
            let mut row = format!("| {workload} | {temperature} |");
            let plain = run("none", None)?;
            for drafter in DRAFTERS {
                for budget in BUDGETS {
                    row += &format!(" {:.2} |", run(drafter, Some(budget))?.acceptance_length());
                }
            }
            row += &format!(" {:.0} |", plain.speed());
            for drafter in DRAFTERS {
                let drafted = run(drafter, None)?;
                row += &format!(
                    " {:.0} ({:.2}×) |",
                    drafted.speed(),
                    drafted.speed() / plain.speed()
                );
            }
            table += &row;
            table.push('\n');
        }
    }
    progress.finish_and_clear();
    print!("{}{table}", header());
    Ok(())
}

fn header() -> String {
    let budgets = DRAFTERS
        .iter()
        .flat_map(|drafter| BUDGETS.map(|budget| format!(" {drafter} {budget} |")));
    let budgets: String = budgets.collect();
    let speeds: String = DRAFTERS
        .iter()
        .map(|drafter| format!(" {drafter}, tok/s |"))
        .collect();
    let rule = " --: |".repeat(DRAFTERS.len() * (BUDGETS.len() + 1) + 2);
    format!("| workload | T |{budgets} none, tok/s |{speeds}\n| --- |{rule}\n")
}

/// The first turns of a workload's first questions.
fn questions(workload: &str, count: usize) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("workloads/{workload}.jsonl"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines: Vec<&str> = text.lines().collect();
    // Every so many lines one, as categories stand one after another.
    let step = (lines.len() / count.max(1)).max(1);
    let first_turn = |line: &&str| -> Result<String> {
        let question: Question = serde_json::from_str(line)?;
        question
            .turns
            .into_iter()
            .next()
            .context("a question without turns")
    };
    lines
        .iter()
        .step_by(step)
        .take(count)
        .map(first_turn)
        .collect()
}

/// Answers one question after another and adds up what it took.
async fn answer(
    frontend: &Arc<Frontend>,
    questions: &[String],
    tokens: u32,
    setting: Setting,
) -> Result<Totals> {
    let mut total = Totals::default();
    for (index, question) in questions.iter().enumerate() {
        let request = RawRequest {
            prompt: Prompt::Chat(vec![Message {
                role: "user".to_owned(),
                content: question.clone(),
            }]),
            sampling: RawSampling {
                temperature: Some(setting.temperature),
                top_p: Some(1.0),
                seed: Some(index as u64),
                ..RawSampling::default()
            },
            max_tokens: Some(tokens),
            speculation: RawSpeculation {
                drafter: Some(setting.drafter.to_owned()),
                max_draft_tokens: setting.budget,
                min_draft_tokens: setting.budget,
                max_draft_depth: None,
            },
            ..RawRequest::default()
        };
        let answer = frontend.admit(request).await?.collect().await?;
        total.num_tokens += answer.tokens.len();
        total.num_steps += answer.stats.num_steps;
        total.decode += answer.stats.decode;
    }
    Ok(total)
}
