//! The storm: requests arrive on time, whatever becomes of those before.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::faults::FAULTS;
use super::options::SoakOptions;
use super::tally::Tally;
use super::visit::Visit;
use super::watch::Watch;

use crate::harness::progress;
use crate::harness::request::Request;
use crate::harness::schedule::Arrivals;
use crate::harness::send::Client;

/// Who arrives when.
pub(super) struct Storm {
    visits: Vec<(Duration, Visit)>,
    timeout: Duration,
}

/// Chunks that a client waits for before it hangs up, at most.
const MAX_PATIENCE: usize = 24;

impl Storm {
    pub(super) fn plan(options: &SoakOptions, rate: f64, num_cases: usize) -> Result<Self> {
        let count = (rate * options.minutes * 60.0).ceil() as usize;
        let arrivals = Arrivals::Rate {
            from: rate,
            to: rate,
            burstiness: 1.0,
        };
        let times = arrivals
            .times(count, options.requests.seed)?
            .unwrap_or_default();
        let mut rng = StdRng::seed_from_u64(options.requests.seed);
        let visits = times.into_iter().map(|time| {
            let case = rng.random_range(0..num_cases);
            let draw: f64 = rng.random();
            let visit = if draw < options.cancelled {
                Visit::Leave(case, rng.random_range(0..=MAX_PATIENCE))
            } else if draw < options.cancelled + options.malformed {
                Visit::Spoil(case, rng.random_range(0..FAULTS.len()))
            } else {
                Visit::Stay(case)
            };
            (time, visit)
        });
        Ok(Self {
            visits: visits.collect(),
            timeout: options.server.timeout(),
        })
    }

    /// Lets it loose. Gives what came of it, and the memory's course in MB.
    pub(super) async fn run(
        self,
        client: &Arc<Client>,
        cases: &[Request],
        watch: &Watch,
    ) -> Result<(Tally, Vec<f64>)> {
        let progress = progress::bar("soaking", self.visits.len())?;
        let (mut tally, mut memory) = (Tally::new(cases.len())?, Vec::new());
        let (mut visits, mut running) = (self.visits.into_iter().peekable(), JoinSet::new());
        let start = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            let next = visits.peek().map(|&(time, _)| start + time);
            if next.is_none() && running.is_empty() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.unwrap_or(start)), if next.is_some() => {
                    if let (Some((_, visit)), Some(scheduled)) = (visits.next(), next) {
                        let (case, client) = (cases[visit.case()].clone(), Arc::clone(client));
                        running.spawn(visit.pay(client, case, scheduled, self.timeout));
                    }
                }
                Some(joined) = running.join_next() => {
                    let (visit, report) = joined?;
                    tally.add(visit, report);
                    progress.inc(1);
                }
                // The drain behind the last arrival says nothing of a steady state.
                _ = tick.tick(), if next.is_some() => memory.extend(watch.resident_mb()),
            }
        }
        progress.finish_and_clear();
        Ok((tally, memory))
    }
}
