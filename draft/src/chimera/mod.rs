//! `chimera`: a trigram encoder, a full-context encoder and residual heads on the frozen target.
//!
//! Zeng et al., arXiv 2402.15758 (Chimera), and BDMA 8(4), 2025 (ResDecode). The full-context encoder's keys and values
//! are a layer of the engine's cache: those of committed tokens come from the target's hidden rows, computed when the
//! network drafts next; those of a tree that grows stand behind them until the tree is verified.

mod buffers;
mod config;
mod forward;
mod level;
mod projections;
#[cfg(test)]
mod tests;
pub mod train;
mod unread;
mod weights;

use candle_core::{Result, bail};
use foretoken_model::{KvCache, KvShape, Llama, ModelSource, SeqId};

use crate::drafter::{Context, Drafter, Verified};
use crate::grow::{Manner, Shape, grow};
use crate::tree::DraftTree;
pub use config::{ChimeraConfig, ConfigError, Form};
use forward::Network;
use level::Level;
use unread::Unread;
pub use weights::ChimeraError;

/// Its name on flags, wires and metrics.
const NAME: &str = "chimera";

/// Drafts with a network that was trained for the target.
#[derive(Debug)]
pub struct Chimera {
    network: Network,
    shape: Shape,
    cache: Option<KvCache>,
    unread: Unread,
}

impl Chimera {
    /// Reads a drafter of this target.
    pub fn load(
        source: &ModelSource,
        target: &Llama,
        shape: Shape,
    ) -> std::result::Result<Self, ChimeraError> {
        Ok(Self {
            network: Network::load(source, target)?,
            shape,
            cache: None,
            unread: Unread::default(),
        })
    }
}

impl Drafter for Chimera {
    fn name(&self) -> &'static str {
        NAME
    }

    fn layers(&self) -> Option<KvShape> {
        Some(self.network.kv_shape())
    }

    fn attach(&mut self, layers: KvCache) {
        self.cache = Some(layers);
    }

    fn row_bytes(&self) -> usize {
        self.network.row_bytes()
    }

    fn reserve(&mut self, num_rows: usize) -> Result<()> {
        self.network.reserve(num_rows)
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        let Some(cache) = &self.cache else {
            bail!("the network has no layers in the cache");
        };
        let network = &mut self.network;
        self.unread.read(network, cache.layer(0))?;
        let latest = self.unread.latest();
        let states: Vec<Option<u32>> = (contexts.iter())
            .map(|context| latest.find(context))
            .collect();
        let num_levels: Vec<usize> = (states.iter())
            .map(|state| state.map_or(0, |_| usize::MAX))
            .collect();
        let draft_vocab = network.draft_vocab();
        let manner = Manner {
            source: NAME,
            shape: self.shape,
            draft_vocab: draft_vocab.as_deref(),
        };
        grow(contexts, manner, &num_levels, |frontiers, look| {
            let level = Level::new(frontiers, latest, &states)?;
            let scores = network.compute(&level, cache.layer(0))?;
            look(&scores.rows());
            Ok(())
        })
    }

    fn observe(&mut self, verified: &Verified<'_>) -> Result<()> {
        let Some(cache) = &self.cache else {
            return Ok(());
        };
        self.unread
            .push(verified, &mut self.network, cache.layer(0))
    }

    fn forget(&mut self, seq: SeqId) {
        self.unread.forget(seq);
    }
}
