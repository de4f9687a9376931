//! What happened to one request: its answer with a time on every piece, and the latencies that follow.

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::request::Request;
use super::send::{Client, Failure, FailureKind, Usage};

/// One request and its answer. All times count from its scheduled arrival, so that a server that is slow to take a
/// request, or a client that is slow to send it, shows in the latencies.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was asked.
    pub request: Request,
    /// When it was sent. Late means that the load generator could not keep up, or had no slot free.
    pub sent: Duration,
    /// Pieces of the answer that brought text or tokens, in order.
    pub chunks: Vec<Chunk>,
    /// When the answer, or the failure, was complete.
    pub end: Duration,
    /// All text that came.
    pub text: String,
    /// What it took, or why it failed.
    pub outcome: Result<Usage, Failure>,
}

/// A piece that came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chunk {
    /// When it was here.
    pub at: Duration,
    /// None if the server does not say.
    pub num_tokens: Option<usize>,
}

impl Record {
    /// Sends `request`, which was to arrive at `scheduled`, and follows the answer to its end, or until `timeout` has
    /// passed since the arrival, or until `leave_after` chunks have come: then it hangs up.
    pub async fn take(
        client: &Client,
        request: Request,
        scheduled: Instant,
        timeout: Duration,
        leave_after: Option<usize>,
    ) -> Self {
        let mut record = Self {
            request,
            sent: scheduled.elapsed(),
            chunks: Vec::new(),
            end: Duration::ZERO,
            text: String::new(),
            outcome: Err(Failure::new(
                FailureKind::Timeout,
                format!("after {timeout:?}"),
            )),
        };
        let answer = record.follow(client, scheduled, leave_after.unwrap_or(usize::MAX));
        let answer = tokio::time::timeout_at(scheduled + timeout, answer).await;
        if let Ok(outcome) = answer {
            record.outcome = outcome;
        }
        record.end = scheduled.elapsed();
        record
    }

    async fn follow(
        &mut self,
        client: &Client,
        scheduled: Instant,
        leave_after: usize,
    ) -> Result<Usage, Failure> {
        let mut answer = client.send(&self.request).await?;
        let mut usage = None;
        while self.chunks.len() < leave_after {
            let Some(piece) = answer.next().await else {
                let no_usage = "the answer ended without saying what it took";
                return usage.ok_or_else(|| Failure::new(FailureKind::Malformed, no_usage));
            };
            let piece = piece?;
            // Some servers open with a piece that says nothing but whose turn it is.
            if !piece.text.is_empty() || piece.num_tokens.is_some_and(|num_tokens| num_tokens > 0) {
                let at = scheduled.elapsed();
                self.chunks.push(Chunk {
                    at,
                    num_tokens: piece.num_tokens,
                });
            }
            self.text.push_str(&piece.text);
            usage = piece.usage.or(usage);
        }
        Ok(Usage::default())
    }

    /// Until the first token.
    pub fn time_to_first_token(&self) -> Option<Duration> {
        Some(self.chunks.first()?.at)
    }

    /// Mean time from token to token behind the first chunk: the time behind it, over the tokens behind it. Where the
    /// server does not say how many it brought, it counts as one.
    pub fn time_per_output_token(&self) -> Option<Duration> {
        let (first, last) = (self.chunks.first()?, self.chunks.last()?);
        let num_gaps = self
            .num_output_tokens()
            .checked_sub(first.num_tokens.unwrap_or(1))
            .filter(|&gaps| gaps > 0)?;
        Some((last.at - first.at).div_f64(num_gaps as f64))
    }

    /// Tokens of the answer; 0 if it failed.
    pub fn num_output_tokens(&self) -> usize {
        self.outcome
            .as_ref()
            .map_or(0, |usage| usage.num_output_tokens)
    }

    /// Times between chunks: what a reader sees.
    pub fn chunk_gaps(&self) -> impl Iterator<Item = Duration> {
        self.chunks.windows(2).map(|pair| pair[1].at - pair[0].at)
    }

    /// Times between tokens, each with how many tokens it counts for: the tokens of a chunk share the time since the
    /// chunk before. Where the server does not say how many those are, all chunks count as the mean.
    pub fn token_gaps(&self) -> impl Iterator<Item = (Duration, usize)> {
        let mean = self.num_output_tokens() as f64 / self.chunks.len().max(1) as f64;
        self.chunks.windows(2).filter_map(move |pair| {
            let gap = pair[1].at - pair[0].at;
            match pair[1].num_tokens {
                Some(0) => None,
                Some(num_tokens) => Some((gap.div_f64(num_tokens as f64), num_tokens)),
                None => Some((gap.div_f64(mean.max(1.0)), 1)),
            }
        })
    }
}

#[cfg(test)]
impl Record {
    /// An empty answer that took no time, for tests to fill in.
    pub(crate) fn sample() -> Self {
        Self {
            request: Request {
                id: "1".to_owned(),
                category: "a".to_owned(),
                prompt: "?".to_owned(),
                seed: 0,
                max_tokens: 8,
                temperature: None,
                ignore_eos: false,
                drafting: Default::default(),
            },
            sent: Duration::ZERO,
            chunks: Vec::new(),
            end: Duration::ZERO,
            text: String::new(),
            outcome: Ok(Usage::default()),
        }
    }
}
