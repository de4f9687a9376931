//! Memory for requests that have arrived and are not read yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a request may have, at either door: room for a prompt of a million tokens, as text or as ids.
pub(crate) const MAX_REQUEST_BYTES: usize = 16 << 20;

/// How long a client may take to send its request, at either door.
pub(crate) const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that all unread requests of a door may have together.
const MAX_UNREAD_BYTES: usize = 4 * MAX_REQUEST_BYTES;

/// What a door's unread requests may take together. Bytes count as they arrive: who announces many and sends few takes
/// little, and nobody waits for another, which would let a few slow clients hold up all.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

impl Default for BodyBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_UNREAD_BYTES)))
    }
}

impl BodyBudget {
    /// Room for `num_bytes` more, which comes back when the permit is dropped; none if that is too much now.
    pub(crate) fn take(&self, num_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let num_bytes = u32::try_from(num_bytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(num_bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let budget = BodyBudget::default();
        let held: Vec<_> = (0..4).map(|_| budget.take(MAX_REQUEST_BYTES)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(budget.take(1).is_none());
        assert!(budget.take(0).is_some());
        drop(held);
        assert!(budget.take(MAX_UNREAD_BYTES).is_some());
        assert!(budget.take(MAX_UNREAD_BYTES + 1).is_none());
        assert!(budget.take(usize::MAX).is_none());
    }
}
