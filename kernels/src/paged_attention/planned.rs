//! `Planned`: a batch's attention, dealt out when the first layer asks, and kept for the others.

#[cfg(feature = "cuda")]
use std::sync::{Arc, OnceLock};

#[cfg(feature = "cuda")]
use super::args::Kernel;
#[cfg(feature = "cuda")]
use super::plan::Dealt;
#[cfg(feature = "cuda")]
use super::unit::Shape;
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
    /// The batch, dealt out to a kernel's blocks.
    pub(crate) fn of(&self, paging: &Paging, kernel: Kernel, shape: Shape) -> Arc<Dealt> {
        let deal = || Arc::new(Dealt::new(paging, kernel, shape));
        let dealt = self.dealt.get_or_init(deal);
        match dealt.is_for(kernel, shape) {
            true => dealt.clone(),
            // Another model's layers over the same rows.
            false => deal(),
        }
    }

    /// How the first layer asked for it, if one has.
    pub(crate) fn known(&self) -> Option<(Kernel, Shape)> {
        let dealt = self.dealt.get()?;
        Some((dealt.kernel, dealt.shape))
    }
}

/// Dealt out before the first layer asks.
#[cfg(feature = "cuda")]
impl From<Dealt> for Planned {
    fn from(dealt: Dealt) -> Self {
        Self {
            dealt: Arc::new(dealt).into(),
        }
    }
}
