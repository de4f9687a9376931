//! What a comparison comes to.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::lossless::Lossless;
use super::ratio::Interval;
use crate::harness::drive::Run;
use crate::harness::summary::Summary;

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
    /// The figures of a run.
    pub(super) fn new(run: &Run) -> Result<Self> {
        let summary = Summary::new(&run.records, run.duration, &[])?;
        Ok(Self {
            output_throughput: summary.output_throughput,
            ttft_ms: summary.ttft_ms.p50,
            tpot_ms: summary.tpot_ms.mean,
        })
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
