//! The paged cache itself: keys and values of every layer, by slot.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_kernels::move_kv;

use crate::config::Config;

/// Keys and values of all layers. Who owns which slots is the block pool's business.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Tensor>, // [slots, 2 * kv_heads * head_dim], keys before values
}

impl KvCache {
    /// Room for `num_slots` rows.
    pub fn new(config: &Config, num_slots: usize, dtype: DType, device: &Device) -> Result<Self> {
        let layer = |_| Tensor::zeros((num_slots, 2 * config.kv_width()), dtype, device);
        Ok(Self {
            layers: (0..config.num_layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// Bytes that a slot takes in all layers together.
    pub fn slot_bytes(config: &Config, dtype: DType) -> usize {
        2 * config.num_layers * config.kv_width() * dtype.size_in_bytes()
    }

    pub(crate) fn layer(&self, layer: usize) -> &Tensor {
        &self.layers[layer]
    }

    /// Moves rows of every layer, in order: from the first slot of each pair to the second.
    pub fn move_rows(&mut self, moves: &[(u32, u32)]) -> Result<()> {
        for layer in &self.layers {
            move_kv(layer, moves)?;
        }
        Ok(())
    }
}
