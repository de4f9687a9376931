//! A request's span: opened at a door, closed when its answer is complete or nobody waits for it any more.

use hyper::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::generation::Chunk;
use crate::metrics::ABORT;

/// A span for the request `id` to the served `model`. What a `traceparent` among the headers names is its parent.
pub(crate) fn request_span(id: &str, model: &str, headers: &HeaderMap) -> Span {
    let span = info_span!(
        "request",
        otel.kind = "server",
        id,
        model,
        prompt_tokens = Empty,
        drafter = Empty,
        finish_reason = Empty,
        output_tokens = Empty,
        accepted_tokens = Empty,
    );
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // An error says that nobody traces.
    _ = span.set_parent(parent);
    span
}

/// Fills the span in which it is made with what becomes of an admitted request.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    span: Span,
    num_running: usize,
    /// Of the choice that ended last.
    finish_reason: &'static str,
    num_output_tokens: usize,
    /// By choice.
    num_accepted: Vec<usize>,
}

impl RequestRecord {
    pub(crate) fn new(
        num_choices: usize,
        num_prompt_tokens: usize,
        drafter: Option<&'static str>,
    ) -> Self {
        let span = Span::current();
        span.record("prompt_tokens", number(num_prompt_tokens));
        span.record("drafter", drafter);
        Self {
            span,
            num_running: num_choices,
            finish_reason: ABORT,
            num_output_tokens: 0,
            num_accepted: vec![0; num_choices],
        }
    }

    /// Notes what a step brought the choice `index`.
    pub(crate) fn chunk(&mut self, index: usize, chunk: &Chunk) {
        self.num_output_tokens += chunk.tokens.len();
        self.num_accepted[index] = chunk.stats.num_accepted_tokens;
        if let Some(finish) = &chunk.finish {
            self.num_running -= 1;
            self.finish_reason = finish.reason();
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let finish_reason = match self.num_running {
            0 => self.finish_reason,
            _ => ABORT,
        };
        self.span.record("finish_reason", finish_reason);
        let num_accepted = self.num_accepted.iter().sum();
        self.span
            .record("output_tokens", number(self.num_output_tokens));
        self.span.record("accepted_tokens", number(num_accepted));
        tracing::debug!(parent: &self.span, "the request has ended");
    }
}

/// A count as spans hold it: OTLP knows no unsigned numbers and would export text.
pub(crate) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
