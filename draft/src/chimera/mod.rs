//! `chimera`: a trigram encoder, a full-context encoder and residual heads on the frozen target.
//!
//! Zeng et al., arXiv 2402.15758 (Chimera), and BDMA 8(4), 2025 (ResDecode). The full-context encoder's keys and values
//! are a layer of the engine's cache: those of committed tokens come from the target's hidden rows, those of a tree that
//! grows stand behind them until the tree is verified.

mod buffers;
mod config;
mod forward;
mod level;
mod projections;
#[cfg(test)]
mod tests;
pub mod train;
mod weights;

use candle_core::Result;
use foretoken_model::{KvCache, KvShape, Llama, ModelSource, SeqId, Token};

use crate::drafter::{Context, Drafter, Verified};
use crate::grow::{Shape, grow};
use crate::tree::DraftTree;
pub use config::{ChimeraConfig, ConfigError, Form};
use forward::Network;
use level::{Latest, Level};
pub use weights::ChimeraError;

/// Its name on flags, wires and metrics.
const NAME: &str = "chimera";

/// Drafts with a network that was trained for the target.
#[derive(Debug)]
pub struct Chimera {
    network: Network,
    shape: Shape,
    cache: Option<KvCache>,
    latest: Option<Latest>,
    /// A row of scores of the whole vocabulary, where only a part can be drafted.
    whole: Vec<f32>,
}

impl Chimera {
    /// Reads a drafter of this target.
    pub fn load(
        source: &ModelSource,
        target: &Llama,
        shape: Shape,
    ) -> std::result::Result<Self, ChimeraError> {
        let network = Network::load(source, target)?;
        let whole = match network.draft_vocab() {
            Some(_) => vec![f32::NEG_INFINITY; target.config().vocab_size],
            None => Vec::new(),
        };
        Ok(Self {
            network,
            shape,
            cache: None,
            latest: None,
            whole,
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
        let (Some(cache), Some(latest)) = (&self.cache, &self.latest) else {
            let alone = contexts
                .iter()
                .map(|context| DraftTree::new(context.root()));
            return Ok(alone.collect());
        };
        let (network, whole) = (&mut self.network, &mut self.whole);
        let states: Vec<Option<u32>> = (contexts.iter())
            .map(|context| latest.find(context))
            .collect();
        let num_levels: Vec<usize> = (states.iter())
            .map(|state| state.map_or(0, |_| usize::MAX))
            .collect();
        let draft_vocab = network.draft_vocab();
        grow(
            contexts,
            NAME,
            self.shape,
            &num_levels,
            |frontiers, look| {
                let level = Level::new(frontiers, latest, &states)?;
                let scores = network.compute(&level, cache.layer(0))?;
                for row in 0..level.batch.num_rows() {
                    let scores = scores.row(row);
                    match &draft_vocab {
                        None => look(row, scores),
                        Some(tokens) => look(row, spread(scores, tokens, whole)),
                    }
                }
                Ok(())
            },
        )
    }

    fn observe(&mut self, verified: &Verified<'_>) -> Result<()> {
        let Some(cache) = &self.cache else {
            return Ok(());
        };
        self.latest = None;
        let layer = cache.layer(0);
        self.network.read(verified.batch, verified.hidden, layer)?;
        self.latest = Some(Latest::new(verified)?);
        Ok(())
    }

    fn forget(&mut self, seq: SeqId) {
        if let Some(latest) = &mut self.latest {
            latest.forget(seq);
        }
    }
}

/// Shows a row of scores of the draft vocabulary as one of the whole: other tokens cannot be.
fn spread<'a>(scores: &[f32], draft_vocab: &[Token], whole: &'a mut [f32]) -> &'a [f32] {
    for (&token, &score) in draft_vocab.iter().zip(scores) {
        whole[token as usize] = score;
    }
    whole
}
