//! What a run comes to: rates, quantiles of latencies, acceptance, failures.

mod acceptance;
mod goodput;
mod quantiles;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::record::Record;
pub use acceptance::Acceptance;
pub use goodput::{Limit, Metric};
pub use quantiles::{Quantiles, Times};

/// What a run comes to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// From the start to the end of the last answer.
    pub duration_s: f64,
    /// Sent.
    pub num_requests: usize,
    /// Answered in full.
    pub num_completed: usize,
    /// Failures by kind.
    pub failures: BTreeMap<String, Failures>,
    /// Of completed requests.
    pub num_prompt_tokens: usize,
    /// Of completed requests.
    pub num_output_tokens: usize,
    /// Completed requests per second.
    pub request_throughput: f64,
    /// Tokens of completed requests per second.
    pub output_throughput: f64,
    /// Completed requests per second that kept within all limits; none if there were no limits.
    pub request_goodput: Option<f64>,
    /// Time to first token.
    pub ttft_ms: Quantiles,
    /// Time per output token, by request, the first chunk's left out.
    pub tpot_ms: Quantiles,
    /// Inter-token latency, by token.
    pub itl_ms: Quantiles,
    /// Times between chunks, each of which may bring several tokens.
    pub inter_chunk_ms: Quantiles,
    /// End-to-end latency.
    pub e2el_ms: Quantiles,
    /// How late requests were sent.
    pub lag_ms: Quantiles,
    /// What drafting brought.
    pub acceptance: Acceptance,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failures {
    /// How many.
    pub count: usize,
    /// The first one's message.
    pub example: String,
}

impl Summary {
    /// The summary of `records`, which took `duration`.
    pub fn new<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        duration: Duration,
        limits: &[Limit],
    ) -> Result<Self> {
        let mut tally = Tally::new()?;
        for record in records {
            tally.add(record, limits);
        }
        Ok(tally.summary(duration, !limits.is_empty()))
    }
}

/// A summary in the making.
struct Tally {
    num_requests: usize,
    num_completed: usize,
    num_good: usize,
    num_prompt_tokens: usize,
    num_output_tokens: usize,
    failures: BTreeMap<String, Failures>,
    ttft: Times,
    tpot: Times,
    itl: Times,
    inter_chunk: Times,
    e2el: Times,
    lag: Times,
    acceptance: Acceptance,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            num_requests: 0,
            num_completed: 0,
            num_good: 0,
            num_prompt_tokens: 0,
            num_output_tokens: 0,
            failures: BTreeMap::new(),
            ttft: Times::new()?,
            tpot: Times::new()?,
            itl: Times::new()?,
            inter_chunk: Times::new()?,
            e2el: Times::new()?,
            lag: Times::new()?,
            acceptance: Acceptance::default(),
        })
    }

    fn add(&mut self, record: &Record, limits: &[Limit]) {
        self.num_requests += 1;
        self.lag.add(record.sent, 1);
        let usage = match &record.outcome {
            Ok(usage) => usage,
            Err(failure) => {
                let failures = self.failures.entry(failure.kind.name().to_owned());
                let example = failure.message.clone();
                failures.or_insert(Failures { count: 0, example }).count += 1;
                return;
            }
        };
        self.num_completed += 1;
        self.num_good += usize::from(limits.iter().all(|limit| limit.holds(record)));
        self.num_prompt_tokens += usage.num_prompt_tokens;
        self.num_output_tokens += usage.num_output_tokens;
        if let Some(drafted) = &usage.drafted {
            self.acceptance.add(&record.request.category, drafted);
        }
        self.e2el.add(record.end, 1);
        record
            .time_to_first_token()
            .into_iter()
            .for_each(|time| self.ttft.add(time, 1));
        record
            .time_per_output_token()
            .into_iter()
            .for_each(|time| self.tpot.add(time, 1));
        record
            .chunk_gaps()
            .for_each(|gap| self.inter_chunk.add(gap, 1));
        record
            .token_gaps()
            .for_each(|(gap, count)| self.itl.add(gap, count));
    }

    fn summary(self, duration: Duration, has_limits: bool) -> Summary {
        let duration_s = duration.as_secs_f64();
        let per_second = |count: usize| count as f64 / duration_s.max(f64::MIN_POSITIVE);
        Summary {
            duration_s,
            num_requests: self.num_requests,
            num_completed: self.num_completed,
            failures: self.failures,
            num_prompt_tokens: self.num_prompt_tokens,
            num_output_tokens: self.num_output_tokens,
            request_throughput: per_second(self.num_completed),
            output_throughput: per_second(self.num_output_tokens),
            request_goodput: has_limits.then(|| per_second(self.num_good)),
            ttft_ms: self.ttft.quantiles(),
            tpot_ms: self.tpot.quantiles(),
            itl_ms: self.itl.quantiles(),
            inter_chunk_ms: self.inter_chunk.quantiles(),
            e2el_ms: self.e2el.quantiles(),
            lag_ms: self.lag.quantiles(),
            acceptance: self.acceptance,
        }
    }
}
