//! Answers of a server in this process, as transcripts.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use foretoken_server::admission::Frontend;
use foretoken_server::config::EngineOptions;
use foretoken_server::raw_request::RawRequest;
use foretoken_server::request::Emitted;

use super::transcript::{Transcript, write};
use crate::harness::progress::bar;
use crate::harness::request::{Drafting, Request, RequestOptions};
use crate::harness::send::raw_request;
use crate::harness::server::start;
use crate::harness::workload::{Workload, WorkloadOptions};

/// Likeliest tokens that are recorded at each place.
const NUM_TOP: u32 = 8;

/// What is answered, and how often.
#[derive(Args, Clone, Debug)]
pub struct RecordOptions {
    /// File for the transcripts
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Questions of each workload
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub questions: usize,

    /// Each question is answered at each of these
    #[arg(
        long,
        value_name = "T",
        value_delimiter = ',',
        default_value = "0,0.7,1"
    )]
    pub temperatures: Vec<f32>,

    /// Prompts.
    #[command(flatten)]
    pub workload: WorkloadOptions,

    /// Requests.
    #[command(flatten)]
    pub requests: RequestOptions,

    /// The server, which runs in this process.
    #[command(flatten)]
    pub engine: EngineOptions,
}

/// Asks every question at every temperature and writes down what is said. At temperatures of 1 and above nothing is
/// filtered, below it the server's top-p is in force.
pub async fn record(options: &RecordOptions) -> Result<()> {
    let frontend = start(&options.engine, 1)?.frontend;
    let names = &options.workload.workload;
    let progress = bar(
        "recording",
        names.len() * options.temperatures.len() * options.questions,
    )?;
    let mut transcripts = Vec::new();
    for name in names {
        let workload = Workload::load(name, &options.workload.synthetic, options.requests.seed)?;
        for &temperature in &options.temperatures {
            let requests = RequestOptions {
                temperature: Some(temperature),
                ..options.requests.clone()
            };
            let plainly = Drafting {
                drafter: Some("none".to_owned()),
                max_draft_tokens: None,
            };
            for index in 0..options.questions.min(workload.num_questions()) {
                let request = workload.request(index, &requests, &plainly);
                transcripts.push(transcript(&frontend, name, &request).await?);
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    write(&options.file, &transcripts)
}

async fn transcript(
    frontend: &Arc<Frontend>,
    workload: &str,
    request: &Request,
) -> Result<Transcript> {
    let mut raw = raw_request(frontend, request);
    let temperature = request.temperature.unwrap_or_default();
    let top_p = match temperature < 1.0 {
        true => frontend.model().defaults.top_p,
        false => 1.0,
    };
    raw.sampling.top_p = Some(top_p);
    let generation = frontend
        .admit(RawRequest {
            logprobs: Some(NUM_TOP),
            ..raw
        })
        .await
        .with_context(|| format!("question {} of {workload}", request.id))?;
    let prompt = generation.prompt.clone();
    let answer = generation.collect().await?;
    Ok(Transcript {
        workload: workload.to_owned(),
        category: request.category.clone(),
        id: request.id.clone(),
        temperature,
        top_p,
        seed: request.seed,
        prompt,
        tokens: answer.tokens.iter().map(|emitted| emitted.token).collect(),
        top: answer.tokens.iter().map(top).collect(),
    })
}

fn top(emitted: &Emitted) -> Vec<u32> {
    let top = emitted.logprobs.iter().flat_map(|logprobs| &logprobs.top);
    top.flat_map(|&(token, logprob)| [token, (-logprob * 100.0).round() as u32])
        .collect()
}
