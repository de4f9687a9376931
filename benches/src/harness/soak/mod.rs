//! `foretoken-bench soak`: too many requests, rude clients and nonsense for minutes, and nothing may give.
//!
//! What the server can do is measured first; then three times as much arrives. What it takes, it must answer, with the
//! text that it gives when it is idle; what it cannot take, it must refuse at once.

mod faults;
mod options;
mod storm;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;
mod visit;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::drive::{Pace, drive};
use super::progress;
use super::request::{Drafting, Request};
use super::send::Client;
use super::server::LocalServer;
use super::summary::Quantiles;
use super::workload::Workload;
pub use options::SoakOptions;
use storm::Storm;
use watch::Watch;

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SoakResult {
    /// Where the requests went.
    pub server: String,
    /// How long requests arrived.
    pub minutes: f64,
    /// Answers per second that the server managed beforehand.
    pub capacity: f64,
    /// Requests per second that then arrived.
    pub request_rate: f64,
    /// Answered in full.
    pub num_completed: u64,
    /// Hung up on.
    pub num_cancelled: u64,
    /// Nonsense that was refused as such.
    pub num_malformed: u64,
    /// Times that refusals of a full queue took, from sending.
    pub refusal_ms: Quantiles,
    /// Different texts compared with those of the idle server.
    pub num_texts: usize,
    /// Memory of the server's process, sampled evenly.
    pub resident_mb: Vec<f64>,
    /// What gave; nothing should.
    pub violations: Vec<String>,
}

/// Runs it. Violations are part of the result.
pub async fn run(options: &SoakOptions) -> Result<SoakResult> {
    let (local, url) = if options.server.in_process {
        let local = LocalServer::start(&options.server.engine, options.max_num_queued_reqs).await?;
        let url = local.http.clone();
        (Some(local), url)
    } else {
        (None, options.server.url.clone())
    };
    let pid = options
        .server_pid
        .or(local.as_ref().map(|_| std::process::id()));
    let client = options.server.connect_to(&url).await?;
    ensure!(
        client.openai().is_some(),
        "`{url}` is not http://: the soak speaks OpenAI's API"
    );
    let soak = Soak {
        options,
        cases: cases(options)?,
        client: Arc::new(client),
        watch: Watch::new(&url, pid),
    };
    soak.run().await
}

/// The different requests, short and long ones.
fn cases(options: &SoakOptions) -> Result<Vec<Request>> {
    let mut cases = Vec::new();
    for name in &options.workload.workload {
        let workload = Workload::load(name, &options.workload.synthetic, options.requests.seed)?;
        let count = usize::from(options.distinct).div_ceil(options.workload.workload.len());
        cases.extend((0..count).map(|index| {
            let mut request = workload.request(index, &options.requests, &Drafting::default());
            let share = 1.0 + index as f64 / count as f64;
            request.max_tokens = (f64::from(request.max_tokens) * share) as u32;
            request
        }));
    }
    Ok(cases)
}

/// A soak under way.
struct Soak<'a> {
    options: &'a SoakOptions,
    cases: Vec<Request>,
    client: Arc<Client>,
    watch: Watch,
}

impl Soak<'_> {
    async fn run(self) -> Result<SoakResult> {
        let capacity = self.calibrate().await?;
        let request_rate = capacity * self.options.overload;
        eprintln!(
            "{capacity:.1} answers per second; now {request_rate:.1} requests per second arrive"
        );
        let storm = Storm::plan(self.options, request_rate, self.cases.len())?;
        let (tally, resident_mb) = storm.run(&self.client, &self.cases, &self.watch).await?;
        // What clients left behind is freed within a few steps.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let at_rest = self.watch.at_rest().await;
        let truth = self.truth().await.context("asking the idle server")?;
        let violations = verdict::violations(
            &tally,
            &truth,
            &resident_mb,
            &at_rest,
            self.options.max_refusal_ms,
        );
        Ok(SoakResult {
            server: self.options.server.name(),
            minutes: self.options.minutes,
            capacity,
            request_rate,
            num_completed: tally.num_completed,
            num_cancelled: tally.num_cancelled,
            num_malformed: tally.num_malformed,
            refusal_ms: tally.refusal_ms(),
            num_texts: tally.num_texts(),
            resident_mb,
            violations,
        })
    }

    /// Answers per second with as many requests under way as may run.
    async fn calibrate(&self) -> Result<f64> {
        let slots = self.options.server.engine.max_num_seqs;
        let requests: Vec<Request> = self
            .cases
            .iter()
            .cycle()
            .take(self.cases.len().max(4 * slots))
            .cloned()
            .collect();
        let count = requests.len();
        let progress = progress::bar("measuring", count)?;
        let run = drive(&self.client, requests, &self.pace(slots), &progress).await?;
        progress.finish_and_clear();
        for record in &run.records {
            record
                .outcome
                .as_ref()
                .map_err(Clone::clone)
                .context("measuring what the server can do")?;
        }
        Ok(count as f64 / run.duration.as_secs_f64())
    }

    /// The text of every case, asked one at a time.
    async fn truth(&self) -> Result<Vec<String>> {
        let progress = progress::bar("asking again", self.cases.len())?;
        let run = drive(&self.client, self.cases.clone(), &self.pace(1), &progress).await?;
        progress.finish_and_clear();
        let texts = run
            .records
            .into_iter()
            .map(|record| record.outcome.map(|_| record.text));
        Ok(texts.collect::<Result<_, _>>()?)
    }

    fn pace(&self, slots: usize) -> Pace {
        Pace {
            arrivals: None,
            max_concurrency: Some(slots),
            timeout: self.options.server.timeout(),
        }
    }
}
