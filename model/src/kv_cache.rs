//! The paged cache itself: keys and values of every layer, by slot.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_kernels::move_kv;

use crate::config::Config;

/// Keys and values of all layers. Who owns which slots is the block pool's business.
#[derive(Debug)]
pub struct KvCache {
    num_slots: usize,
    device: Device,
    layers: Vec<Tensor>, // [slots, 2 * kv_heads * head_dim], keys before values
}

/// Layers of a cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvShape {
    /// How many.
    pub num_layers: usize,
    /// Elements of a slot's keys in a layer, and of its values.
    pub kv_width: usize,
    /// What they are held in.
    pub dtype: DType,
}

impl KvShape {
    /// The layers of a model.
    pub fn new(config: &Config, dtype: DType) -> Self {
        Self {
            num_layers: config.num_layers,
            kv_width: config.kv_width(),
            dtype,
        }
    }

    /// Bytes that a slot takes in all of them together.
    pub fn slot_bytes(&self) -> usize {
        2 * self.num_layers * self.kv_width * self.dtype.size_in_bytes()
    }
}

impl KvCache {
    /// Room for `num_slots` rows.
    pub fn new(shape: KvShape, num_slots: usize, device: &Device) -> Result<Self> {
        let mut cache = Self {
            num_slots,
            device: device.clone(),
            layers: Vec::new(),
        };
        cache.extend(shape)?;
        Ok(cache)
    }

    /// Adds layers behind those there are, and hands them out as a cache of their own: its slots are the same memory, so
    /// what is moved here is moved there.
    pub fn extend(&mut self, shape: KvShape) -> Result<Self> {
        let size = (self.num_slots, 2 * shape.kv_width);
        let layers = (0..shape.num_layers)
            .map(|_| Tensor::zeros(size, shape.dtype, &self.device))
            .collect::<Result<Vec<_>>>()?;
        self.layers.extend_from_slice(&layers);
        Ok(Self {
            layers,
            num_slots: self.num_slots,
            device: self.device.clone(),
        })
    }

    /// One layer's keys and values. `[slots, 2 * kv_width]`, keys before values
    pub fn layer(&self, layer: usize) -> &Tensor {
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
