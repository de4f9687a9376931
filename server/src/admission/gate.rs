//! Whether anybody gets in: the engine has to live, the server to be open, and the queue to have room.

use std::sync::{MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::Frontend;
use crate::lifetime::Stage;
use crate::refusal::Refusal;
use crate::request::Request;

impl Frontend {
    /// Takes nothing new from now on; what runs goes on.
    pub fn drain(&self) {
        self.proceed(Stage::Draining);
    }

    /// Cuts off what still runs.
    pub fn close(&self) {
        self.proceed(Stage::Closed);
    }

    /// Lets the engine end when its requests have: no more can come.
    pub fn dismiss(&self) {
        self.drain();
        *self.lock_inbox() = None;
    }

    /// The way to the engine, until it is dismissed.
    pub(super) fn inbox(&self) -> Option<mpsc::UnboundedSender<Request>> {
        self.lock_inbox().clone()
    }

    fn lock_inbox(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Request>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proceed(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let is_later = to > *stage;
            *stage = to.max(*stage);
            is_later
        });
    }

    /// Resolves when no request runs or waits, after [`Frontend::drain`].
    pub async fn drained(&self) {
        let all = u32::try_from(self.limits.max_num_requests).unwrap_or(u32::MAX);
        // Every permit comes back with its request; none is given out again.
        _ = self.permits.acquire_many(all).await;
    }

    /// True while the engine runs.
    pub fn is_alive(&self) -> bool {
        self.inbox().is_some_and(|inbox| !inbox.is_closed())
    }

    /// True if a request could be admitted now, room in the queue aside.
    pub fn is_ready(&self) -> bool {
        self.is_alive() && *self.stage.borrow() == Stage::Open
    }

    /// Resolves when the engine is gone.
    pub async fn engine_gone(&self) {
        if let Some(inbox) = self.inbox() {
            inbox.closed().await;
        }
    }

    /// Refuses what could not be admitted now, whatever it asks for.
    pub fn check_room(&self) -> Result<(), Refusal> {
        self.has_room(1)
            .inspect_err(|refusal| self.note_refusal(refusal))
    }

    /// Refuses a request that needs so many places, unless they are free.
    pub(super) fn has_room(&self, needed: usize) -> Result<(), Refusal> {
        if !self.is_alive() {
            return Err(Refusal::EngineDead);
        }
        if !self.is_ready() {
            return Err(Refusal::Draining);
        }
        match needed <= self.permits.available_permits() {
            true => Ok(()),
            false => Err(self.queue_full(needed)),
        }
    }

    pub(super) fn note_refusal(&self, refusal: &Refusal) {
        tracing::debug!(%refusal, "a request is not admitted");
        self.metrics.refused(refusal);
    }

    pub(super) fn queue_full(&self, needed: usize) -> Refusal {
        Refusal::QueueFull {
            needed,
            free: self.permits.available_permits(),
            all: self.limits.max_num_requests,
        }
    }
}
