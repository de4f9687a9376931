//! `foretoken-bench load`: requests at a rate, or at a concurrency, and what came of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::drive::{Pace, drive};
use super::progress;
use super::request::{Drafting, RequestOptions};
use super::schedule::Arrivals;
use super::send::Client;
use super::server::ServerOptions;
use super::summary::{Limit, Summary};
use super::workload::{Workload, WorkloadOptions};

/// Options of `foretoken-bench load`.
#[derive(Args, Clone, Debug)]
pub struct LoadOptions {
    /// Arrivals.
    #[command(flatten)]
    pub arrivals: ArrivalOptions,

    /// Requests of each run
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub num_prompts: usize,

    /// Limits that a good answer keeps, in ms: ttft:200 tpot:20 e2el:5000
    #[arg(long, value_name = "METRIC:MS", num_args = 1..)]
    pub goodput: Vec<Limit>,

    /// Drafter that requests ask for (foretoken only) [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub request_drafter: Option<String>,

    /// Prompts.
    #[command(flatten)]
    pub workload: WorkloadOptions,

    /// Requests.
    #[command(flatten)]
    pub requests: RequestOptions,

    /// The server.
    #[command(flatten)]
    pub server: ServerOptions,
}

/// When requests come.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Arrivals")]
pub struct ArrivalOptions {
    /// Requests per second, whatever the server does; several rates are run one after another; inf sends as soon as
    /// --max-concurrency lets it. A trace that is given no rate comes as it came
    #[arg(long, value_name = "R", value_delimiter = ',', value_parser = positive)]
    pub request_rate: Vec<f64>,

    /// 1 is a Poisson process, less is burstier, more is more regular, inf is a fixed rate
    #[arg(long, value_name = "SHAPE", default_value_t = 1.0, value_parser = positive)]
    pub burstiness: f64,

    /// The rate moves from --request-rate to this one over the run
    #[arg(long, value_name = "R", requires = "request_rate", value_parser = positive)]
    pub ramp_up_end_rps: Option<f64>,

    /// Requests under way at the same time, at most; others wait, and their latencies count from their arrival
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrency: Option<u32>,

    /// A trace comes so many times faster than it came
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub speedup: f64,
}

/// A number above 0, or infinity.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|&number: &f64| number > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadResult {
    /// Where the requests went.
    pub server: String,
    /// Where the prompts came from.
    pub workload: String,
    /// How they came, in words.
    pub arrivals: String,
    /// Requests per second, where there was one rate.
    pub request_rate: Option<f64>,
    /// Requests under way at the same time, at most.
    pub max_concurrency: Option<u32>,
    /// What came of it.
    pub summary: Summary,
}

/// Runs every workload at every rate.
pub async fn run(options: &LoadOptions) -> Result<Vec<LoadResult>> {
    let client = Arc::new(options.server.connect().await?);
    let mut results = Vec::new();
    for name in &options.workload.workload {
        let workload = Workload::load(name, &options.workload.synthetic, options.requests.seed)?;
        for arrivals in options.arrivals.plan(&workload, options.num_prompts) {
            results.push(run_one(options, &client, &workload, arrivals).await?);
        }
    }
    Ok(results)
}

async fn run_one(
    options: &LoadOptions,
    client: &Arc<Client>,
    workload: &Workload,
    arrivals: Arrivals,
) -> Result<LoadResult> {
    let drafting = Drafting {
        drafter: options.request_drafter.clone(),
        ..Drafting::default()
    };
    let count = match &arrivals {
        Arrivals::Given(times) => times.len(),
        _ => options.num_prompts,
    };
    let requests = (0..count).map(|index| workload.request(index, &options.requests, &drafting));
    let pace = Pace {
        arrivals: arrivals.times(count, options.requests.seed)?,
        max_concurrency: options.arrivals.max_concurrency.map(|slots| slots as usize),
        timeout: options.server.timeout(),
    };
    let (in_words, request_rate) = describe(&arrivals, options.arrivals.max_concurrency);
    let progress = progress::bar(format!("{}, {in_words}", workload.name), count)?;
    let run = drive(client, requests.collect(), &pace, &progress).await?;
    progress.finish_and_clear();
    Ok(LoadResult {
        server: options.server.name(),
        workload: workload.name.clone(),
        arrivals: in_words,
        request_rate,
        max_concurrency: options.arrivals.max_concurrency,
        summary: Summary::new(&run.records, run.duration, &options.goodput)?,
    })
}

impl ArrivalOptions {
    /// One run for each rate; without one, as the trace came, or at once.
    fn plan(&self, workload: &Workload, num_prompts: usize) -> Vec<Arrivals> {
        if self.request_rate.is_empty() {
            let sped_up = |time: Duration| time.div_f64(self.speedup);
            let traced = workload.arrivals(num_prompts.min(workload.num_questions()));
            return vec![traced.map_or(Arrivals::AtOnce, |times| {
                Arrivals::Given(times.into_iter().map(sped_up).collect())
            })];
        }
        let rates = self.request_rate.iter();
        rates
            .map(|&from| match from {
                f64::INFINITY => Arrivals::AtOnce,
                _ => Arrivals::Rate {
                    from,
                    to: self.ramp_up_end_rps.unwrap_or(from),
                    burstiness: self.burstiness,
                },
            })
            .collect()
    }
}

/// The arrivals in words, and the rate if there is one.
fn describe(arrivals: &Arrivals, max_concurrency: Option<u32>) -> (String, Option<f64>) {
    let slots = max_concurrency.map_or("any number".to_owned(), |slots| slots.to_string());
    match *arrivals {
        Arrivals::AtOnce => (format!("{slots} at a time"), None),
        Arrivals::Given(_) => ("as traced".to_owned(), None),
        Arrivals::Rate { from, to, .. } if from != to => {
            (format!("{from} to {to} per second"), None)
        }
        Arrivals::Rate {
            from, burstiness, ..
        } => {
            let kind = match burstiness {
                1.0 => "Poisson".to_owned(),
                f64::INFINITY => "fixed".to_owned(),
                shape => format!("gamma of shape {shape}"),
            };
            (format!("{from} per second, {kind}"), Some(from))
        }
    }
}
