//! The network, as it is served: the target's ops over the engine's paged cache.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};
use foretoken_kernels::{
    Linear, add, gather_silu, paged_attention, rms_norm, rotate, silu_mul, write_kv,
};
use foretoken_model::{Batch, KvShape, Llama, LogitRows, ModelSource, Token};

use super::buffers::Buffers;
use super::config::ChimeraConfig;
use super::level::Level;
use super::projections::Projections;
use super::weights::{ChimeraError, Weights};

/// A trained network, and what it takes from its target.
#[derive(Debug)]
pub(super) struct Network {
    config: ChimeraConfig,
    dtype: DType,
    weights: Weights,
    embedding: Linear, // [vocab, hidden]
    cos: Tensor,       // [positions, head_dim / 2]
    sin: Tensor,       // [positions, head_dim / 2]
    projections: Projections,
    buffers: Buffers,
}

impl Network {
    /// Reads a network that was trained for this target.
    pub(super) fn load(
        source: &ModelSource,
        target: &Llama,
    ) -> std::result::Result<Self, ChimeraError> {
        let json = source.read("config.json")?;
        let config = ChimeraConfig::from_json(&json, target.config(), target.fingerprint())?;
        let weights = Weights::load(source, &config, target)?;
        Self::new(config, weights, target).map_err(|error| ChimeraError::File(error.into()))
    }

    fn new(config: ChimeraConfig, weights: Weights, target: &Llama) -> Result<Self> {
        let (embedding, _) = target.vocabulary();
        let (cos, sin) = target.angles();
        let parts = weights.trigram_parts.clone();
        Ok(Self {
            projections: Projections::new(
                &config,
                embedding.clone(),
                parts,
                &weights.context_norm,
            )?,
            buffers: Buffers::new(&config, target.dtype(), target.device())?,
            dtype: target.dtype(),
            embedding: embedding.clone(),
            cos: cos.clone(),
            sin: sin.clone(),
            config,
            weights,
        })
    }

    /// The one layer of its cache.
    pub(super) fn kv_shape(&self) -> KvShape {
        KvShape {
            num_layers: 1,
            kv_width: self.config.kv_width(),
            dtype: self.dtype,
        }
    }

    /// Bytes that it takes for each row of a step.
    pub(super) fn row_bytes(&self) -> usize {
        let waiting = self.config.hidden_size * self.dtype.size_in_bytes();
        Buffers::row_bytes(&self.config, self.dtype) + waiting
    }

    /// Makes room for steps of so many rows.
    pub(super) fn reserve(&mut self, num_rows: usize) -> Result<()> {
        self.buffers.reserve(num_rows)
    }

    /// Tokens that can be drafted, if not all.
    pub(super) fn draft_vocab(&self) -> Option<Arc<[Token]>> {
        self.weights.draft_vocab.clone()
    }

    /// Writes keys and values of rows that the target has computed.
    ///
    /// `hidden`: `[rows, hidden]`; `positions`, `slots`: `[rows]`.
    pub(super) fn read(
        &mut self,
        hidden: &Tensor,
        positions: &[usize],
        slots: &[u32],
        cache: &Tensor,
    ) -> Result<()> {
        let num_rows = slots.len();
        let normed = self.buffers.normed.rows(num_rows)?;
        let kv = self.buffers.context_kv.rows(num_rows)?;
        self.norm(hidden, &self.weights.context_norm, &normed)?;
        self.weights.context_kv.forward(&normed, &kv)?;
        let num_heads = self.config.num_key_value_heads;
        rotate(&kv, &self.cos, &self.sin, positions, num_heads)?;
        write_kv(cache, &kv, slots)
    }

    /// LogitRows of what may follow each node; the nodes' keys and values go into the cache. `[rows, draft vocab]`
    pub(super) fn compute(&mut self, level: &Level, cache: &Tensor) -> Result<LogitRows<'_>> {
        let num_rows = level.batch.num_rows();
        let x = self.buffers.x.rows(num_rows)?;
        self.embed(level, &x)?;
        self.attention(&level.batch, cache, &x)?;
        self.feed_forward(&x)?;
        self.score(level, &x)?;
        self.buffers.logits.read(num_rows)
    }

    /// The embedding of each node's token, and what the trigram adds to it.
    fn embed(&mut self, level: &Level, x: &Tensor) -> Result<()> {
        let num_rows = level.batch.num_rows();
        let trigram = self.buffers.trigram.rows(num_rows)?;
        let added = self.buffers.added.rows(num_rows)?;
        self.embedding.rows(level.batch.tokens(), x)?;
        let entries = self.projections.find(&level.trigrams)?;
        gather_silu(self.projections.table(), &entries, &trigram)?;
        self.weights.trigram_output.forward(&trigram, &added)?;
        add(x, &added)
    }

    /// Adds attention over the context and each node's own branch.
    fn attention(&mut self, batch: &Batch, cache: &Tensor, x: &Tensor) -> Result<()> {
        let num_rows = batch.num_rows();
        let (q_width, kv_width) = (self.config.q_width(), self.config.kv_width());
        let normed = self.buffers.normed.rows(num_rows)?;
        let qkv = self.buffers.qkv.rows(num_rows)?;
        let mixed = self.buffers.mixed.rows(num_rows)?;
        let added = self.buffers.added.rows(num_rows)?;
        self.norm(x, &self.weights.attention_norm, &normed)?;
        self.weights.qkv.forward(&normed, &qkv)?;
        let num_heads = self.config.num_attention_heads + self.config.num_key_value_heads;
        rotate(&qkv, &self.cos, &self.sin, batch.paging(), num_heads)?;
        let kv = qkv.narrow(1, q_width, 2 * kv_width)?;
        write_kv(cache, &kv, batch.paging())?;
        let (q, head_dim) = (qkv.narrow(1, 0, q_width)?, self.config.head_dim);
        paged_attention(&q, cache, batch.paging(), head_dim, &mixed)?;
        self.weights.output.forward(&mixed, &added)?;
        add(x, &added)
    }

    fn feed_forward(&mut self, x: &Tensor) -> Result<()> {
        let num_rows = x.dim(0)?;
        let normed = self.buffers.normed.rows(num_rows)?;
        let gate_up = self.buffers.gate_up.rows(num_rows)?;
        let gated = self.buffers.gated.rows(num_rows)?;
        let added = self.buffers.added.rows(num_rows)?;
        self.norm(x, &self.weights.mlp_norm, &normed)?;
        self.weights.gate_up.forward(&normed, &gate_up)?;
        silu_mul(&gate_up, &gated)?;
        self.weights.down.forward(&gated, &added)?;
        add(x, &added)
    }

    /// The level's head over the target's state and what the block made of the nodes.
    fn score(&mut self, level: &Level, x: &Tensor) -> Result<()> {
        let num_rows = level.batch.num_rows();
        let joined = self.buffers.joined.rows(num_rows)?;
        let logits = self.buffers.logits.rows(num_rows)?;
        joined.slice_set(&level.states, 1, 0)?;
        joined.slice_set(x, 1, self.config.hidden_size)?;
        let heads = &self.weights.heads;
        let head = &heads[level.depth.min(heads.len() - 1)];
        let Some(lm_head) = &self.weights.lm_head else {
            return head.forward(&joined, &logits);
        };
        let added = self.buffers.added.rows(num_rows)?;
        head.forward(&joined, &added)?;
        add(x, &level.states)?;
        add(x, &added)?;
        lm_head.forward(x, &logits)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor, y: &Tensor) -> Result<()> {
        rms_norm(x, weight, self.config.rms_norm_eps as f32, y)
    }
}
