//! What a server counts of itself, for Prometheus.

pub(crate) mod names;
mod registry;
mod requests;

use std::fmt;
use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use registry::Registry;
pub(crate) use requests::{ABORT, RequestMeter, RequestMeters};

use crate::refusal::Refusal;
use names::{INTER_TOKEN_LATENCY, ITERATION_TOKENS, Metric, STEP_TIME};

/// A server's metrics. Each server has its own, so that those of one process do not add up.
pub struct Metrics {
    registry: Registry,
    handle: PrometheusHandle,
    requests: Arc<RequestMeters>,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let buckets = [
            (full(STEP_TIME), STEP_SECONDS),
            (full(INTER_TOKEN_LATENCY), STEP_SECONDS),
            (full(ITERATION_TOKENS), ROWS),
            (Matcher::Suffix("_seconds".to_owned()), REQUEST_SECONDS),
        ];
        let mut builder = PrometheusBuilder::new();
        for (matcher, buckets) in buckets {
            builder = (builder.set_buckets_for_metric(matcher, buckets))
                .expect("a list of buckets that is not empty");
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let registry = Registry::new(recorder);
        Self {
            requests: Arc::new(RequestMeters::new(&registry)),
            registry,
            handle,
        }
    }

    /// For what counts by itself.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// As Prometheus reads it.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Sorts what was measured into buckets, so that it takes no more memory. To be called every few seconds.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }

    /// Counts an admitted request from now on.
    pub(crate) fn admitted(&self, num_prompt_tokens: usize) -> RequestMeter {
        RequestMeter::new(Arc::clone(&self.requests), num_prompt_tokens)
    }

    /// Counts a request that was not admitted.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let reason = [("reason", refusal.reason().to_owned())];
        (self.registry)
            .counter(names::REQUESTS_REFUSED, &reason)
            .increment(1);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn full(Metric(name, _): Metric) -> Matcher {
    Matcher::Full(name.to_owned())
}

/// From a stage of a tiny model's step to a large one's prefill.
const STEP_SECONDS: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5,
];

/// From an answer of a few tokens to one that waited long.
const REQUEST_SECONDS: &[f64] = &[
    1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0,
];

/// Powers of two.
const ROWS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
];
