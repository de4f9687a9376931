//! How long an answer may take: until its time is up, or the server's.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Why an answer ends before it is complete.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum Interrupted {
    /// The engine thread has died.
    #[error("the engine has failed")]
    EngineFailed,
    /// The server grants no more time.
    #[error("the request took longer than {} s, which is all that this server grants", .0.as_secs_f64())]
    TimedOut(Duration),
    /// The server shuts down and has waited long enough.
    #[error("the server is shutting down")]
    ShutDown,
}

/// What the server still does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Stage {
    /// All.
    Open,
    /// Finishes what runs.
    Draining,
    /// Nothing.
    Closed,
}

/// When an answer is cut off.
#[derive(Debug)]
pub(crate) struct Lifetime {
    stage: watch::Receiver<Stage>,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Lifetime {
    /// From now on.
    pub(crate) fn new(stage: watch::Receiver<Stage>, timeout: Option<Duration>) -> Self {
        Self {
            stage,
            timeout,
            // What the clock cannot hold is never.
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Resolves when it is over. Cancel-safe.
    pub(crate) async fn over(&mut self) -> Interrupted {
        let timed_out = async {
            match (self.deadline, self.timeout) {
                (Some(deadline), Some(timeout)) => {
                    sleep_until(deadline).await;
                    Interrupted::TimedOut(timeout)
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            interrupted = timed_out => interrupted,
            // If the sender is gone, so is the server.
            _ = self.stage.wait_for(|&stage| stage == Stage::Closed) => Interrupted::ShutDown,
        }
    }
}
