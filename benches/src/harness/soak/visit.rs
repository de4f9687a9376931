//! One client of the storm: what it does, and what it saw.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::faults::FAULTS;
use crate::harness::record::Record;
use crate::harness::request::Request;
use crate::harness::send::Client;

/// One client's behaviour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Visit {
    /// Asks a case and waits for the whole answer.
    Stay(usize),
    /// Asks a case and hangs up after some chunks.
    Leave(usize, usize),
    /// Sends a case spoilt by a fault.
    Spoil(usize, usize),
}

/// What a client saw.
pub(super) enum Report {
    /// Of a request that made sense.
    Record(Box<Record>),
    /// Of one that did not: the status, or why there was none.
    Status(Result<u16, String>),
}

impl Visit {
    pub(super) fn case(self) -> usize {
        match self {
            Self::Stay(case) | Self::Leave(case, _) | Self::Spoil(case, _) => case,
        }
    }

    /// Does what it is to do, `scheduled` being when it was to begin.
    pub(super) async fn pay(
        self,
        client: Arc<Client>,
        case: Request,
        scheduled: Instant,
        timeout: Duration,
    ) -> (Self, Report) {
        let leave_after = match self {
            Self::Stay(_) => None,
            Self::Leave(_, chunks) => Some(chunks),
            Self::Spoil(_, fault) => {
                let status = tokio::time::timeout(timeout, spoil(&client, &case, fault)).await;
                let status = status
                    .context("no answer in time")
                    .and_then(|status| status);
                return (
                    self,
                    Report::Status(status.map_err(|error| format!("{error:#}"))),
                );
            }
        };
        let record = Record::take(&client, case, scheduled, timeout, leave_after).await;
        (self, Report::Record(Box::new(record)))
    }
}

async fn spoil(client: &Client, case: &Request, fault: usize) -> Result<u16> {
    let client = client.openai().context("faults go by HTTP")?;
    let (_, body) = FAULTS[fault];
    let response = client.post().body(body(client, case)).send().await?;
    let status = response.status().as_u16();
    // A server that dies while it answers has not answered.
    response.bytes().await?;
    Ok(status)
}
