//! What drafting is worth on the carried model: acceptance lengths at fixed budgets, tokens per second on and off.
//!
//! `cargo bench -p foretoken-benches --bench engine [-- --questions N --tokens N --drafters A,B --batches 1,4,16]`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use foretoken_model::chat_template::Message;
use foretoken_server::admission::Frontend;
use foretoken_server::config::EngineOptions;
use foretoken_server::launch::{Grants, Pricing, launch};
use foretoken_server::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use foretoken_server::request::Stats;
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::runtime::Runtime;

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
    /// Questions that are answered at once, for tokens per second
    #[arg(long, value_delimiter = ',', default_value = "1")]
    batches: Vec<usize>,
    /// Leave out tokens per second
    #[arg(long)]
    acceptance_only: bool,
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
    /// Questions at once.
    batch: usize,
}

/// What came of it.
#[derive(Clone, Default)]
struct Total {
    stats: Stats,
    decode: Duration,
}

impl Total {
    /// Takes in answers that were given at once: they took as long as the slowest of them, behind the prompts.
    fn add(&mut self, answers: &[Stats]) {
        for answer in answers {
            self.stats.num_drafts += answer.num_drafts;
            self.stats.num_accepted_tokens += answer.num_accepted_tokens;
            self.stats.num_decode_tokens += answer.num_decode_tokens;
        }
        self.decode += (answers.iter().map(|answer| answer.decode).max()).unwrap_or_default();
    }

    fn tokens_per_second(&self) -> f64 {
        self.stats.num_decode_tokens as f64 / self.decode.as_secs_f64().max(1e-9)
    }
}

/// A server, and what it is asked.
struct Bench {
    options: Options,
    settings: Vec<Setting>,
    frontend: Arc<Frontend>,
    runtime: Runtime,
    progress: ProgressBar,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    if options.acceptance_only {
        options.batches.clear();
    }
    let grants = Grants {
        max_num_queued: options.batches.iter().copied().max().unwrap_or(1),
        ..Grants::default()
    };
    let settings = settings(&options);
    let num_lines = options.workloads.len() * options.temperatures.len();
    let num_answers = num_lines * options.questions * settings.len();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} (ends in {eta})")?;
    let bench = Bench {
        frontend: launch(&options.engine, grants, Pricing::Measured)?.frontend,
        runtime: tokio::runtime::Builder::new_current_thread().build()?,
        progress: ProgressBar::new(num_answers as u64).with_style(style),
        options,
        settings,
    };
    let mut table = header(&bench.settings);
    for workload in &bench.options.workloads {
        let questions = questions(workload, bench.options.questions)?;
        for &temperature in &bench.options.temperatures {
            let message = format!("{workload}, T = {temperature}");
            bench.progress.set_message(message);
            let totals = bench.totals(&questions, temperature)?;
            table += &row(workload, temperature, &bench.settings, &totals);
        }
    }
    bench.progress.finish_and_clear();
    print!("{table}");
    Ok(())
}

impl Bench {
    /// What comes of each setting.
    fn totals(&self, questions: &[String], temperature: f32) -> Result<Vec<Total>> {
        let mut totals = vec![Total::default(); self.settings.len()];
        let most = self.settings.iter().map(|setting| setting.batch).max();
        let most = most.unwrap_or(1);
        // Setting by setting within a few questions, so that a slow minute of the machine slows all of them.
        for (seed, questions) in (0..).step_by(most).zip(questions.chunks(most)) {
            for (setting, total) in self.settings.iter().zip(&mut totals) {
                let seeds = (seed..).step_by(setting.batch);
                for (seed, questions) in seeds.zip(questions.chunks(setting.batch)) {
                    total.add(&self.answers(seed, questions, temperature, setting)?);
                    self.progress.inc(questions.len() as u64);
                }
            }
        }
        Ok(totals)
    }

    /// Answers to questions that are asked at once.
    fn answers(
        &self,
        first_seed: u64,
        questions: &[String],
        temperature: f32,
        setting: &Setting,
    ) -> Result<Vec<Stats>> {
        let answers = (first_seed..).zip(questions).map(async |(seed, question)| {
            let sampling = RawSampling {
                temperature: Some(temperature),
                top_p: Some(1.0),
                seed: Some(seed),
                ..RawSampling::default()
            };
            let request = request(question, sampling, self.options.tokens, setting);
            anyhow::Ok(self.frontend.admit(request).await?.collect().await?.stats)
        });
        self.runtime.block_on(try_join_all(answers))
    }
}

/// Each drafter at each fixed budget; then, at each batch, plain decoding and each drafter by the server's defaults.
fn settings(options: &Options) -> Vec<Setting> {
    let setting = |drafter: &str, budget, batch| Setting {
        drafter: drafter.to_owned(),
        budget,
        batch,
    };
    let drafters = || options.drafters.iter();
    let fixed = drafters().flat_map(|drafter| {
        let budgets = options.budgets.iter();
        budgets.map(move |&budget| setting(drafter, Some(budget), 1))
    });
    let by_default = options.batches.iter().flat_map(|&batch| {
        let drafters = drafters().map(move |drafter| setting(drafter, None, batch));
        [setting(NONE, None, batch)].into_iter().chain(drafters)
    });
    fixed.chain(by_default).collect()
}

const NONE: &str = "none";

/// A line of the table: acceptance lengths, then tokens per second, beside those of plain decoding of the same batch.
fn row(workload: &str, temperature: f32, settings: &[Setting], totals: &[Total]) -> String {
    let mut row = format!("| {workload} | {temperature} |");
    let mut plain = 0.0;
    for (setting, total) in settings.iter().zip(totals) {
        let speed = total.tokens_per_second();
        if setting.budget.is_some() {
            row += &format!(" {:.2} |", total.stats.mean_acceptance_length());
        } else if setting.drafter == NONE {
            plain = speed;
            row += &format!(" {plain:.0} |");
        } else {
            row += &format!(" {:.2} |", speed / plain);
        }
    }
    row + "\n"
}

fn header(settings: &[Setting]) -> String {
    let rule = " --: |".repeat(settings.len() + 1);
    let column = |setting: &Setting| {
        let Setting { drafter, batch, .. } = setting;
        match setting.budget {
            Some(budget) => format!(" {drafter} {budget} |"),
            None if drafter == NONE => format!(" {batch}: none, tok/s |"),
            None => format!(" {batch}: {drafter}, times |"),
        }
    };
    let columns: String = settings.iter().map(column).collect();
    format!("| workload | T |{columns}\n| --- |{rule}\n")
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

fn request(
    question: &str,
    sampling: RawSampling,
    max_tokens: u32,
    setting: &Setting,
) -> RawRequest {
    RawRequest {
        prompt: Prompt::Chat(vec![Message::new("user", question)]),
        sampling,
        max_tokens: Some(max_tokens),
        speculation: RawSpeculation {
            drafter: Some(setting.drafter.clone()),
            max_draft_tokens: setting.budget,
            min_draft_tokens: setting.budget,
            max_draft_depth: None,
        },
        ..RawRequest::default()
    }
}
