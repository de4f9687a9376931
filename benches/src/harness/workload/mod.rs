//! Where prompts come from: files of questions, generated words, or a trace of real traffic.

mod question;
mod questions;
mod synthetic;
#[cfg(test)]
mod tests;
mod trace;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::request::{Drafting, Request, RequestOptions};
use question::Question;
pub use synthetic::SyntheticOptions;

/// Which prompts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Workload")]
pub struct WorkloadOptions {
    /// dialogue, spec_bench, gsm8k, mbpp, copy, random, shared-prefix, a .jsonl file in Spec-Bench's format, or a
    /// .csv file of arrivals (TIMESTAMP,ContextTokens,GeneratedTokens); several go one after another
    #[arg(
        long,
        visible_alias = "dataset-name",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "dialogue"
    )]
    pub workload: Vec<String>,

    /// Lengths of generated prompts.
    #[command(flatten)]
    pub synthetic: SyntheticOptions,
}

/// Questions to draw requests from.
#[derive(Clone, Debug)]
pub struct Workload {
    /// As it was asked for.
    pub name: String,
    /// Never empty.
    questions: Vec<Question>,
}

impl Workload {
    /// Reads or generates the workload `name`; the same seed gives the same questions in the same order.
    pub fn load(name: &str, options: &SyntheticOptions, seed: u64) -> Result<Self> {
        let questions = match name {
            "random" => synthetic::random(options, seed),
            "shared-prefix" => synthetic::shared_prefix(options, seed),
            path if path.ends_with(".csv") => trace::read(path, seed)?,
            _ => questions::load(name, seed)?,
        };
        if questions.is_empty() {
            bail!("the workload `{name}` holds no question");
        }
        Ok(Self {
            name: name.to_owned(),
            questions,
        })
    }

    /// Questions before they repeat.
    pub fn num_questions(&self) -> usize {
        self.questions.len()
    }

    /// Request number `index`. Questions come round again, with other seeds.
    pub fn request(&self, index: usize, options: &RequestOptions, drafting: &Drafting) -> Request {
        let question = &self.questions[index % self.questions.len()];
        Request {
            id: question.id.clone(),
            category: question.category.clone(),
            prompt: question.prompt.clone(),
            // Seeds stay within what every server takes: a signed number of 64 bits, 0 or more.
            seed: options.seed.wrapping_add(index as u64) & (i64::MAX as u64),
            max_tokens: question
                .traced
                .map_or(options.output_len, |traced| traced.output_len),
            temperature: options.temperature,
            ignore_eos: options.ignore_eos,
            drafting: drafting.clone(),
        }
    }

    /// When the trace's first `count` requests arrived; none for a workload that is not a trace.
    pub fn arrivals(&self, count: usize) -> Option<Vec<Duration>> {
        let questions = self.questions.iter().take(count);
        questions
            .map(|question| question.traced.map(|traced| traced.arrival))
            .collect()
    }
}
