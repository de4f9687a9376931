//! Requests from admission to their last token, as the edge sees them.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Histogram};

use super::names;
use super::registry::Registry;
use crate::generation::Chunk;
use crate::request::{Finish, Stats};

/// Handles on what is counted of requests.
#[derive(Debug)]
pub(crate) struct RequestMeters {
    prompt_tokens: Counter,
    generation_tokens: Counter,
    prefix_cache_queries: Counter,
    prefix_cache_hits: Counter,
    time_to_first_token: Histogram,
    inter_token_latency: Histogram,
    e2e_latency: Histogram,
    queue_time: Histogram,
    prefill_time: Histogram,
    decode_time: Histogram,
    stopped: Counter,
    cut: Counter,
    aborted: Counter,
}

impl RequestMeters {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |metric| registry.counter(metric, &[]);
        let histogram = |metric| registry.histogram(metric, &[]);
        let ended = |reason: &str| {
            let reason = [("finished_reason", reason.to_owned())];
            registry.counter(names::REQUEST_SUCCESS, &reason)
        };
        Self {
            prompt_tokens: counter(names::PROMPT_TOKENS),
            generation_tokens: counter(names::GENERATION_TOKENS),
            prefix_cache_queries: counter(names::PREFIX_CACHE_QUERIES),
            prefix_cache_hits: counter(names::PREFIX_CACHE_HITS),
            time_to_first_token: histogram(names::TIME_TO_FIRST_TOKEN),
            inter_token_latency: histogram(names::INTER_TOKEN_LATENCY),
            e2e_latency: histogram(names::E2E_REQUEST_LATENCY),
            queue_time: histogram(names::REQUEST_QUEUE_TIME),
            prefill_time: histogram(names::REQUEST_PREFILL_TIME),
            decode_time: histogram(names::REQUEST_DECODE_TIME),
            stopped: ended("stop"),
            cut: ended("length"),
            aborted: ended(ABORT),
        }
    }
}

/// Why a request has ended that got no whole answer.
pub(crate) const ABORT: &str = "abort";

/// One request. Dropped before its last chunk, it counts as aborted.
#[derive(Debug)]
pub(crate) struct RequestMeter {
    meters: Arc<RequestMeters>,
    num_prompt_tokens: usize,
    admitted: Instant,
    last_chunk: Option<Instant>,
    has_ended: bool,
}

impl RequestMeter {
    pub(super) fn new(meters: Arc<RequestMeters>, num_prompt_tokens: usize) -> Self {
        Self {
            meters,
            num_prompt_tokens,
            admitted: Instant::now(),
            last_chunk: None,
            has_ended: false,
        }
    }

    /// Counts what a step brought.
    pub(crate) fn chunk(&mut self, chunk: &Chunk) {
        let now = Instant::now();
        match self.last_chunk.replace(now) {
            None => self.begin(now, &chunk.stats),
            Some(last) => self.meters.inter_token_latency.record(now - last),
        }
        let num_tokens = chunk.tokens.len() as u64;
        self.meters.generation_tokens.increment(num_tokens);
        if let Some(finish) = &chunk.finish {
            self.end(now, &chunk.stats, finish);
        }
    }

    fn begin(&self, now: Instant, stats: &Stats) {
        let meters = &self.meters;
        let waited = now - self.admitted;
        meters.time_to_first_token.record(waited);
        meters.prefill_time.record(stats.prefill);
        let queued = waited.saturating_sub(stats.prefill);
        meters.queue_time.record(queued);
        let num_prompt_tokens = self.num_prompt_tokens as u64;
        meters.prompt_tokens.increment(num_prompt_tokens);
        meters.prefix_cache_queries.increment(num_prompt_tokens);
        meters
            .prefix_cache_hits
            .increment(stats.num_cached_tokens as u64);
    }

    fn end(&mut self, now: Instant, stats: &Stats, finish: &Finish) {
        self.has_ended = true;
        let meters = &self.meters;
        meters.e2e_latency.record(now - self.admitted);
        meters.decode_time.record(stats.decode);
        match finish {
            Finish::Length => meters.cut.increment(1),
            Finish::Eos(_) | Finish::StopToken(_) | Finish::StopString(_) => {
                meters.stopped.increment(1);
            }
        }
    }
}

impl Drop for RequestMeter {
    fn drop(&mut self) {
        if !self.has_ended {
            self.meters.aborted.increment(1);
        }
    }
}
