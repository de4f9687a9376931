//! What drafting is worth on the carried model: acceptance lengths at fixed budgets, tokens per second on and off.
//!
//! `cargo bench -p foretoken-benches --bench engine [-- --questions N --tokens N --drafters A,B]`

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use foretoken_model::chat_template::Message;
use foretoken_server::admission::Frontend;
use foretoken_server::config::EngineOptions;
use foretoken_server::launch::{Grants, Pricing, launch};
use foretoken_server::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use foretoken_server::request::Stats;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

/// Measures what drafting is worth.
#[derive(Parser)]
struct Options {
    /// First questions of each workload
    #[arg(long, default_value_t = 12)]
    questions: usize,
    /// Tokens of each answer, at most
    #[arg(long, default_value_t = 128)]
    tokens: u32,
    /// Of `workloads/`
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "spec_bench,gsm8k,mbpp,dialogue"
    )]
    workloads: Vec<String>,
    /// Those to compare
    #[arg(long, value_delimiter = ',', default_value = "auto,trigram,lookup")]
    drafters: Vec<String>,
    /// Nodes that are always verified, for acceptance lengths
    #[arg(long, value_delimiter = ',', default_value = "8,32")]
    budgets: Vec<u32>,
    /// Those to answer at
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    temperatures: Vec<f32>,
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
#[derive(Clone)]
struct Setting {
    drafter: String,
    /// Nodes that are always verified; none leaves it to the server's defaults.
    budget: Option<u32>,
    temperature: f32,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let grants = Grants {
        max_num_queued: 1,
        ..Grants::default()
    };
    let frontend = launch(&options.engine, grants, Pricing::Measured)?.frontend;
    let num_settings = settings(&options, 0.0).len() * options.temperatures.len();
    let num_answers = options.workloads.len() * options.questions * num_settings;
    let progress = ProgressBar::new(num_answers as u64).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} {msg} (ends in {eta})",
    )?);
    let mut table = String::new();
    for workload in &options.workloads {
        let questions = questions(workload, options.questions)?;
        for &temperature in &options.temperatures {
            progress.set_message(format!("{workload}, T = {temperature}"));
            let settings = settings(&options, temperature);
            let mut totals = vec![Stats::default(); settings.len()];
            // Setting by setting within a question, so that a slow minute of the machine slows all of them.
            for (seed, question) in (0..).zip(&questions) {
                for (setting, total) in settings.iter().zip(&mut totals) {
                    let request = request(question, seed, options.tokens, setting);
                    add(total, runtime.block_on(answer(&frontend, request))?);
                    progress.inc(1);
                }
            }
            let by_default = 1 + options.drafters.len();
            table += &row(workload, temperature, totals.split_at(by_default));
        }
    }
    progress.finish_and_clear();
    print!("{}{table}", header(&options));
    Ok(())
}

/// Plain decoding, then each drafter by the server's defaults, then each at each fixed budget.
fn settings(options: &Options, temperature: f32) -> Vec<Setting> {
    let setting = |drafter: &str, budget| Setting {
        drafter: drafter.to_owned(),
        budget,
        temperature,
    };
    let drafters = || options.drafters.iter();
    let by_default = drafters().map(|drafter| setting(drafter, None));
    let fixed = drafters().flat_map(|drafter| {
        let budgets = options.budgets.iter();
        budgets.map(move |&budget| setting(drafter, Some(budget)))
    });
    let plain = setting("none", None);
    [plain].into_iter().chain(by_default).chain(fixed).collect()
}

/// A line of the table out of the totals of `settings`, those by the server's defaults and the others.
fn row(workload: &str, temperature: f32, (by_default, fixed): (&[Stats], &[Stats])) -> String {
    let plain = speed(&by_default[0]);
    let mut row = format!("| {workload} | {temperature} |");
    for total in fixed {
        row += &format!(" {:.2} |", total.mean_acceptance_length());
    }
    row += &format!(" {plain:.0} |");
    for total in &by_default[1..] {
        row += &format!(" {:.0} ({:.2}×) |", speed(total), speed(total) / plain);
    }
    row + "\n"
}

fn header(options: &Options) -> String {
    let (drafters, budgets) = (&options.drafters, &options.budgets);
    let rule = " --: |".repeat(drafters.len() * (budgets.len() + 1) + 2);
    let column = |drafter, budget| format!(" {drafter} {budget} |");
    let budgets: String = (drafters.iter())
        .flat_map(|drafter| budgets.iter().map(move |budget| column(drafter, budget)))
        .collect();
    let speeds: String = (drafters.iter())
        .map(|drafter| format!(" {drafter}, tok/s |"))
        .collect();
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

fn request(question: &str, seed: u64, tokens: u32, setting: &Setting) -> RawRequest {
    RawRequest {
        prompt: Prompt::Chat(vec![Message::new("user", question)]),
        sampling: RawSampling {
            temperature: Some(setting.temperature),
            top_p: Some(1.0),
            seed: Some(seed),
            ..RawSampling::default()
        },
        max_tokens: Some(tokens),
        speculation: RawSpeculation {
            drafter: Some(setting.drafter.clone()),
            max_draft_tokens: setting.budget,
            min_draft_tokens: setting.budget,
            max_draft_depth: None,
        },
        ..RawRequest::default()
    }
}

async fn answer(frontend: &Arc<Frontend>, request: RawRequest) -> Result<Stats> {
    Ok(frontend.admit(request).await?.collect().await?.stats)
}

fn add(total: &mut Stats, stats: Stats) {
    total.num_drafts += stats.num_drafts;
    total.num_accepted_tokens += stats.num_accepted_tokens;
    total.num_decode_tokens += stats.num_decode_tokens;
    total.decode += stats.decode;
}

/// Tokens per second behind the prompt.
fn speed(stats: &Stats) -> f64 {
    stats.decode_speed().unwrap_or_default()
}
