//! One workload at one concurrency: warmed up, measured in turns, judged.

use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::ProgressBar;

use super::comparison::{Comparison, Figures, Pair};
use super::lossless::Lossless;
use super::options::AbOptions;
use super::ratio::Interval;
use super::side::Side;
use crate::harness::drive::{Pace, Run, drive};
use crate::harness::summary::Summary;
use crate::harness::workload::Workload;

/// Questions that are asked beforehand, at most.
const MAX_WARMED: usize = 64;

/// One workload at one concurrency.
pub(super) struct Cell<'a> {
    pub(super) options: &'a AbOptions,
    pub(super) workload: &'a Workload,
    pub(super) concurrency: u32,
}

impl Cell<'_> {
    /// Runs all pairs.
    pub(super) async fn compare(
        &self,
        sides: &[Side; 2],
        progress: &ProgressBar,
    ) -> Result<Comparison> {
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

    /// Runs both sides once, and says how many requests a block needs to take its time. Every question is asked, so
    /// that its prompt is in the server's prefix cache for both sides afterwards, or for neither.
    async fn warm_up(&self, sides: &[Side; 2]) -> Result<usize> {
        let least = 2 * self.concurrency as usize;
        let num_requests = least.max(self.workload.num_questions().min(MAX_WARMED));
        let run = self.block(&sides[0], 0, num_requests).await?;
        self.block(&sides[1], 0, num_requests).await?;
        let per_second = num_requests as f64 / run.duration.as_secs_f64().max(1e-6);
        Ok(least.max((per_second * self.options.block_seconds) as usize))
    }

    /// One block, every request of which must be answered.
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
        let progress = ProgressBar::hidden();
        let run = drive(&side.client, requests.collect(), &pace, &progress).await?;
        // Blocks with holes cannot be compared.
        for record in &run.records {
            if let Err(failure) = &record.outcome {
                bail!("question {}, {}: {failure}", record.request.id, side.name);
            }
        }
        Ok(run)
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
pub(super) fn order(pair: usize) -> [usize; 2] {
    if pair.is_multiple_of(2) {
        [0, 1]
    } else {
        [1, 0]
    }
}
