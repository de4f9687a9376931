//! `Planned`: a batch's attention, dealt out when the first layer asks, and kept for the others.

#[cfg(feature = "cuda")]
use std::sync::{Arc, OnceLock};

#[cfg(feature = "cuda")]
use super::plan::{Dealt, Plan};
#[cfg(feature = "cuda")]
use crate::paging::Paging;

/// How a GPU goes about a batch's attention. A clone begins without, as its rows may change before they are used.
#[derive(Debug, Default)]
pub struct Planned {
    #[cfg(feature = "cuda")]
    dealt: OnceLock<Arc<Dealt>>,
}

impl Clone for Planned {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(feature = "cuda")]
impl Planned {
    /// The batch, dealt out to blocks of so many queries, `group` of each row.
    pub(crate) fn of(&self, paging: &Paging, num_queries: usize, group: usize) -> Arc<Dealt> {
        let deal = || {
            Arc::new(Dealt::new(
                Plan::new(paging, num_queries, group),
                num_queries,
                group,
            ))
        };
        let dealt = self.dealt.get_or_init(deal);
        match dealt.is_for(num_queries, group) {
            true => dealt.clone(),
            // Another model's layers over the same rows.
            false => deal(),
        }
    }
}
