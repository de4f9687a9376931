//! `foretoken-bench ab`: the same requests two ways, in turns, and whether the texts are the same.
//!
//! Blocks go A B, B A, A B and so on, so that a machine that grows slower or faster favours neither.

mod lossless;
mod ratio;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::drive::{Pace, Run, drive};
use super::progress;
use super::request::{Drafting, RequestOptions};
use super::send::Client;
use super::server::ServerOptions;
use super::summary::Summary;
use super::workload::{Workload, WorkloadOptions};
pub use lossless::{Difference, Lossless};
pub use ratio::Interval;

/// Options of `foretoken-bench ab`. With one server, A is plain decoding and B is what the server does by itself.
#[derive(Args, Clone, Debug)]
pub struct AbOptions {
    /// Server of B [default: A's]
    #[arg(long, value_name = "URL", conflicts_with = "in_process")]
    pub url_b: Option<String>,

    /// Drafter that A's requests ask for [default: none, or the server's if there is --url-b]
    #[arg(long, value_name = "NAME")]
    pub drafter_a: Option<String>,

    /// Drafter that B's requests ask for [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub drafter_b: Option<String>,

    /// Draft tokens that B's requests allow in a step [default: the server's]
    #[arg(long, value_name = "N")]
    pub max_draft_tokens_b: Option<u32>,

    /// Requests under way at the same time; several are run one after another
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Vec<u32>,

    /// Pairs of blocks for each workload and concurrency; from 6 on there are intervals
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,

    /// About how long a block takes; it holds two requests for each slot at least
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5)]
    pub block_seconds: f64,

    /// Prompts.
    #[command(flatten)]
    pub workload: WorkloadOptions,

    /// Requests.
    #[command(flatten)]
    pub requests: RequestOptions,

    /// The server of A; one in this process runs as many requests as the largest --concurrency asks for.
    #[command(flatten)]
    pub server: ServerOptions,
}

/// One workload at one concurrency, both ways.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Where the prompts came from.
    pub workload: String,
    /// Requests under way at the same time.
    pub concurrency: u32,
    /// What A is.
    pub a: String,
    /// What B is.
    pub b: String,
    /// Requests of each block.
    pub requests_per_block: usize,
    /// Block by block.
    pub pairs: Vec<Pair>,
    /// Output tokens per second, B over A: above 1 is better.
    pub throughput: Option<Interval>,
    /// Median time to first token, B over A: below 1 is better.
    pub ttft: Option<Interval>,
    /// Mean time per output token, B over A: below 1 is better.
    pub tpot: Option<Interval>,
    /// Whether the texts are the same.
    pub lossless: Lossless,
    /// All of A's blocks.
    pub summary_a: Summary,
    /// All of B's blocks.
    pub summary_b: Summary,
}

/// A block of A's and one of B's with the same requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pair {
    /// A's figures.
    pub a: Figures,
    /// B's figures.
    pub b: Figures,
}

/// What a block comes to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Output tokens per second.
    pub output_throughput: f64,
    /// Median time to first token.
    pub ttft_ms: f64,
    /// Mean time per output token.
    pub tpot_ms: f64,
}

impl Figures {
    fn new(run: &Run) -> Result<Self> {
        let summary = Summary::new(&run.records, run.duration, &[])?;
        Ok(Self {
            output_throughput: summary.output_throughput,
            ttft_ms: summary.ttft_ms.p50,
            tpot_ms: summary.tpot_ms.mean,
        })
    }
}

/// One of the two ways.
struct Side {
    name: String,
    client: Arc<Client>,
    drafting: Drafting,
}

/// Runs every workload at every concurrency.
pub async fn run(options: &AbOptions) -> Result<Vec<Comparison>> {
    let sides = sides(options).await?;
    let num_blocks =
        2 * options.pairs as usize * options.concurrency.len() * options.workload.workload.len();
    let progress = progress::bar("", num_blocks)?;
    let mut comparisons = Vec::new();
    for name in &options.workload.workload {
        let workload = Workload::load(name, &options.workload.synthetic, options.requests.seed)?;
        for &concurrency in &options.concurrency {
            progress.set_message(format!("{name}, {concurrency} at a time"));
            let cell = Cell {
                options,
                workload: &workload,
                concurrency,
            };
            let comparison = cell.compare(&sides, &progress).await?;
            progress.suspend(|| eprintln!("{}", comparison.line()));
            comparisons.push(comparison);
        }
    }
    progress.finish_and_clear();
    Ok(comparisons)
}

async fn sides(options: &AbOptions) -> Result<[Side; 2]> {
    let mut server = options.server.clone();
    let most = options.concurrency.iter().copied().max().unwrap_or(1) as usize;
    server.engine.max_num_seqs = server.engine.max_num_seqs.max(most);
    let client_a = Arc::new(server.connect().await?);
    let client_b = match &options.url_b {
        Some(url) => Arc::new(server.connect_to(url).await?),
        None => Arc::clone(&client_a),
    };
    let plain = options.url_b.is_none().then(|| "none".to_owned());
    let drafting_a = Drafting {
        drafter: options.drafter_a.clone().or(plain),
        max_draft_tokens: None,
    };
    let drafting_b = Drafting {
        drafter: options.drafter_b.clone(),
        max_draft_tokens: options.max_draft_tokens_b,
    };
    let url_b = options.url_b.clone().unwrap_or_else(|| server.name());
    Ok([
        Side {
            name: name(&server.name(), &drafting_a),
            client: client_a,
            drafting: drafting_a,
        },
        Side {
            name: name(&url_b, &drafting_b),
            client: client_b,
            drafting: drafting_b,
        },
    ])
}

/// A side in words.
fn name(server: &str, drafting: &Drafting) -> String {
    let drafter = drafting.drafter.as_deref().unwrap_or("by default");
    let at_most = drafting
        .max_draft_tokens
        .map(|most| format!(", at most {most} draft tokens"));
    format!("{server}, drafter {drafter}{}", at_most.unwrap_or_default())
}

/// One workload at one concurrency.
struct Cell<'a> {
    options: &'a AbOptions,
    workload: &'a Workload,
    concurrency: u32,
}

impl Cell<'_> {
    async fn compare(&self, sides: &[Side; 2], progress: &ProgressBar) -> Result<Comparison> {
        let num_requests = self.warm_up(sides).await?;
        let mut runs: Vec<[Run; 2]> = Vec::new();
        for pair in 0..self.options.pairs as usize {
            let first = pair * num_requests;
            let mut blocks = [Run::default(), Run::default()];
            for side in order(pair) {
                blocks[side] = self.block(&sides[side], first, num_requests).await?;
                progress.inc(1);
            }
            runs.push(blocks);
        }
        self.judge(sides, num_requests, &runs)
    }

    /// Runs both sides once, and says how many requests a block needs to take its time.
    async fn warm_up(&self, sides: &[Side; 2]) -> Result<usize> {
        let slots = self.concurrency as usize;
        let run = self.block(&sides[0], 0, 2 * slots).await?;
        if let Some(Err(failure)) = run
            .records
            .iter()
            .map(|record| &record.outcome)
            .find(|outcome| outcome.is_err())
        {
            bail!("{}, warming up: {failure}", sides[0].name);
        }
        self.block(&sides[1], 0, 2 * slots).await?;
        let per_second = run.records.len() as f64 / run.duration.as_secs_f64().max(1e-6);
        Ok((2 * slots).max((per_second * self.options.block_seconds) as usize))
    }

    async fn block(&self, side: &Side, first: usize, num_requests: usize) -> Result<Run> {
        let requests = (first..first + num_requests).map(|index| {
            self.workload
                .request(index, &self.options.requests, &side.drafting)
        });
        let pace = Pace {
            arrivals: None,
            max_concurrency: Some(self.concurrency as usize),
            timeout: self.options.server.timeout(),
        };
        drive(
            &side.client,
            requests.collect(),
            &pace,
            &ProgressBar::hidden(),
        )
        .await
    }

    fn judge(
        &self,
        sides: &[Side; 2],
        num_requests: usize,
        runs: &[[Run; 2]],
    ) -> Result<Comparison> {
        let pairs: Vec<Pair> = runs
            .iter()
            .map(|[a, b]| {
                Ok(Pair {
                    a: Figures::new(a)?,
                    b: Figures::new(b)?,
                })
            })
            .collect::<Result<_>>()?;
        let ratio = |figure: fn(&Figures) -> f64| {
            Interval::of_median(pairs.iter().map(|pair| figure(&pair.b) / figure(&pair.a)))
        };
        let summary = |side: usize| {
            let duration: Duration = runs.iter().map(|blocks| blocks[side].duration).sum();
            let records = runs.iter().flat_map(|blocks| &blocks[side].records);
            Summary::new(records, duration, &[])
        };
        Ok(Comparison {
            workload: self.workload.name.clone(),
            concurrency: self.concurrency,
            a: sides[0].name.clone(),
            b: sides[1].name.clone(),
            requests_per_block: num_requests,
            throughput: ratio(|figures| figures.output_throughput),
            ttft: ratio(|figures| figures.ttft_ms),
            tpot: ratio(|figures| figures.tpot_ms),
            lossless: Lossless::check(
                runs.iter()
                    .flat_map(|[a, b]| a.records.iter().zip(&b.records)),
            ),
            summary_a: summary(0)?,
            summary_b: summary(1)?,
            pairs,
        })
    }
}

/// A B, B A, A B, B A: 0 is A.
fn order(pair: usize) -> [usize; 2] {
    if pair.is_multiple_of(2) {
        [0, 1]
    } else {
        [1, 0]
    }
}

impl Comparison {
    /// The result in a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} at a time: {:.0} and {:.0} tokens/s, {} ({})",
            self.workload,
            self.concurrency,
            self.summary_a.output_throughput,
            self.summary_b.output_throughput,
            self.throughput
                .map_or("no ratio".to_owned(), |interval| format!("{interval}")),
            self.lossless,
        )
    }
}
