//! Sends requests when they are due.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::record::Record;
use super::request::Request;
use super::send::Client;

/// When requests are sent.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Times of arrival, one for each request; none if a free slot is what makes a request arrive.
    pub arrivals: Option<Vec<Duration>>,
    /// Slots: requests under way at the same time. A request that arrives while none is free waits for one, and that
    /// counts.
    pub max_concurrency: Option<usize>,
    /// A request that is not answered so long after its arrival has failed.
    pub timeout: Duration,
}

/// What a run brought.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// One for each request, in the order of the requests.
    pub records: Vec<Record>,
    /// From the start to the end of the last answer.
    pub duration: Duration,
}

/// Sends all `requests` and waits for their answers.
pub async fn drive(
    client: &Arc<Client>,
    requests: Vec<Request>,
    pace: &Pace,
    progress: &ProgressBar,
) -> Result<Run> {
    let slots = Arc::new(Semaphore::new(
        pace.max_concurrency.unwrap_or(Semaphore::MAX_PERMITS),
    ));
    let start = Instant::now();
    let mut running = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        let arrival = pace
            .arrivals
            .as_ref()
            .map(|arrivals| start + arrivals[index]);
        let slot = match arrival {
            Some(arrival) => {
                tokio::time::sleep_until(arrival).await;
                None
            }
            // Requests without a time arrive one by one, as slots become free.
            None => Some(Arc::clone(&slots).acquire_owned().await?),
        };
        let (client, slots, timeout) = (Arc::clone(client), Arc::clone(&slots), pace.timeout);
        let progress = progress.clone();
        running.spawn(async move {
            let scheduled = arrival.unwrap_or_else(Instant::now);
            let _slot = match slot {
                Some(slot) => slot,
                None => slots.acquire_owned().await?,
            };
            let record = Record::take(&client, request, scheduled, timeout, None).await;
            progress.inc(1);
            anyhow::Ok((index, record))
        });
    }
    let mut records = Vec::new();
    while let Some(joined) = running.join_next().await {
        records.push(joined??);
    }
    records.sort_by_key(|&(index, _)| index);
    Ok(Run {
        records: records.into_iter().map(|(_, record)| record).collect(),
        duration: start.elapsed(),
    })
}
