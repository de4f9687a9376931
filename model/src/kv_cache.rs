//! The paged cache itself: keys and values of every layer, by slot.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_kernels::move_kv;

use crate::config::Config;

/// Keys and values of all layers. Who owns which slots is the block pool's business.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<KvLayer>,
}

/// One layer's share of the cache.
#[derive(Debug)]
pub(crate) struct KvLayer {
    pub(crate) keys: Tensor,   // [slots, kv_heads * head_dim]
    pub(crate) values: Tensor, // [slots, kv_heads * head_dim]
}

impl KvCache {
    /// Room for `num_slots` rows.
    pub fn new(config: &Config, num_slots: usize, dtype: DType, device: &Device) -> Result<Self> {
        let zeros = || Tensor::zeros((num_slots, config.kv_width()), dtype, device);
        let layer = |_| {
            Ok(KvLayer {
                keys: zeros()?,
                values: zeros()?,
            })
        };
        Ok(Self {
            layers: (0..config.num_layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// Bytes that a slot takes in all layers together.
    pub fn slot_bytes(config: &Config, dtype: DType) -> usize {
        2 * config.num_layers * config.kv_width() * dtype.size_in_bytes()
    }

    pub(crate) fn layer(&self, layer: usize) -> &KvLayer {
        &self.layers[layer]
    }

    /// Moves rows of every layer, in order: from the first slot of each pair to the second.
    pub fn move_rows(&mut self, moves: &[(u32, u32)]) -> Result<()> {
        for layer in &self.layers {
            move_kv(&layer.keys, moves)?;
            move_kv(&layer.values, moves)?;
        }
        Ok(())
    }
}
