//! The Llama architecture's forward over a flat batch, a paged cache and tree masks.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_kernels::{Linear, add, paged_attention, rms_norm, rotate, silu_mul, write_kv};

use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::LoadError;
use crate::kv_cache::{KvCache, KvLayer};

/// A Llama model's weights.
#[derive(Debug)]
pub struct Llama {
    config: Config,
    dtype: DType,
    embedding: Linear, // [vocab, hidden]
    layers: Vec<Layer>,
    norm: Tensor,    // [1, hidden]
    lm_head: Linear, // [vocab, hidden]
    cos: Tensor,     // [positions, head_dim / 2]
    sin: Tensor,     // [positions, head_dim / 2]
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor, // [1, hidden]
    qkv: Linear,            // [q_width + 2 * kv_width, hidden]
    output: Linear,         // [hidden, q_width]
    mlp_norm: Tensor,       // [1, hidden]
    gate_up: Linear,        // [2 * intermediate, hidden]
    down: Linear,           // [hidden, intermediate]
}

/// What a forward gives.
#[derive(Debug)]
pub struct Output {
    /// Every row after the final norm. `[rows, hidden]`
    pub hidden: Tensor,
    /// The rows that the batch asked logits for.
    pub logits: Logits,
}

/// Scores of every token, row by row, in float32.
#[derive(Debug)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
}

impl Logits {
    /// One row's scores. `[vocab]`
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab_size..][..self.vocab_size]
    }

    /// Rows of scores.
    pub fn num_rows(&self) -> usize {
        self.values.len() / self.vocab_size
    }
}

impl Llama {
    /// Takes the weights out of a checkpoint and prepares angles for `num_positions`.
    pub(crate) fn load(
        config: Config,
        checkpoint: Checkpoint<'_>,
        dtype: DType,
        num_positions: usize,
        device: &Device,
    ) -> std::result::Result<Self, LoadError> {
        let take = |name: &str, shape: &[usize]| checkpoint.take(name, shape, dtype, device);
        let hidden = config.hidden_size;
        let embedding = Linear::pack(&take(
            "model.embed_tokens.weight",
            &[config.vocab_size, hidden],
        )?)?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => Linear::pack(&take("lm_head.weight", &[config.vocab_size, hidden])?)?,
        };
        let norm = take("model.norm.weight", &[hidden])?.reshape((1, hidden))?;
        let layers = (0..config.num_layers)
            .map(|index| Layer::load(&config, index, take))
            .collect::<std::result::Result<_, _>>()?;
        let (cos, sin) = angles(&config, num_positions, device)?;
        let tied = config.tie_word_embeddings;
        // Old checkpoints store the rotary frequencies, and some a copy of the tied embedding.
        checkpoint.finish(|name| {
            name.ends_with(".rotary_emb.inv_freq") || tied && name == "lm_head.weight"
        })?;
        Ok(Self {
            config,
            dtype,
            embedding,
            layers,
            norm,
            lm_head,
            cos,
            sin,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Positions that a row may have: 0 to one less.
    pub fn num_positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// What activations and the KV cache are held in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// Computes all rows and writes their keys and values into the cache.
    pub fn forward(&self, batch: &Batch, cache: &mut KvCache) -> Result<Output> {
        let mut x = self.embedding.rows(&batch.tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = self.attention(layer, &x, batch, cache.layer(index))?;
            x = self.feed_forward(layer, &x)?;
        }
        let hidden = self.norm(&x, &self.norm)?;
        let rows = Tensor::from_slice(&batch.logit_rows, batch.logit_rows.len(), self.device())?;
        let wanted = hidden.index_select(&rows, 0)?;
        let values = self
            .lm_head
            .forward(&wanted, DType::F32)?
            .flatten_all()?
            .to_vec1()?;
        Ok(Output {
            hidden,
            logits: Logits {
                values,
                vocab_size: self.config.vocab_size,
            },
        })
    }

    /// `x` plus attention over the cache, this step's rows included: they are read back as stored.
    fn attention(&self, layer: &Layer, x: &Tensor, batch: &Batch, kv: &KvLayer) -> Result<Tensor> {
        let Config {
            num_heads,
            num_kv_heads,
            head_dim,
            ..
        } = self.config;
        let (q_width, kv_width) = (self.config.q_width(), self.config.kv_width());
        let qkv = layer
            .qkv
            .forward(&self.norm(x, &layer.attention_norm)?, self.dtype)?;
        rotate(
            &qkv,
            &self.cos,
            &self.sin,
            &batch.paging.positions,
            num_heads + num_kv_heads,
        )?;
        write_kv(
            &kv.keys,
            &qkv.narrow(1, q_width, kv_width)?,
            &batch.slot_mapping,
        )?;
        write_kv(
            &kv.values,
            &qkv.narrow(1, q_width + kv_width, kv_width)?,
            &batch.slot_mapping,
        )?;
        let q = qkv.narrow(1, 0, q_width)?;
        let mixed = paged_attention(&q, &kv.keys, &kv.values, &batch.paging, head_dim)?;
        add(x, &layer.output.forward(&mixed, self.dtype)?)
    }

    fn feed_forward(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let gate_up = layer
            .gate_up
            .forward(&self.norm(x, &layer.mlp_norm)?, self.dtype)?;
        add(x, &layer.down.forward(&silu_mul(&gate_up)?, self.dtype)?)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(x, weight, self.config.rms_norm_eps as f32)
    }
}

impl Layer {
    fn load(
        config: &Config,
        index: usize,
        take: impl Fn(&str, &[usize]) -> std::result::Result<Tensor, LoadError>,
    ) -> std::result::Result<Self, LoadError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let take = |name: &str, shape: &[usize]| {
            take(&format!("model.layers.{index}.{name}.weight"), shape)
        };
        let q = take("self_attn.q_proj", &[q_width, hidden])?;
        let k = take("self_attn.k_proj", &[kv_width, hidden])?;
        let v = take("self_attn.v_proj", &[kv_width, hidden])?;
        let gate = take("mlp.gate_proj", &[intermediate, hidden])?;
        let up = take("mlp.up_proj", &[intermediate, hidden])?;
        Ok(Self {
            attention_norm: take("input_layernorm", &[hidden])?.reshape((1, hidden))?,
            qkv: Linear::pack(&Tensor::cat(&[q, k, v], 0)?)?,
            output: Linear::pack(&take("self_attn.o_proj", &[hidden, q_width])?)?,
            mlp_norm: take("post_attention_layernorm", &[hidden])?.reshape((1, hidden))?,
            gate_up: Linear::pack(&Tensor::cat(&[gate, up], 0)?)?,
            down: Linear::pack(&take("mlp.down_proj", &[hidden, intermediate])?)?,
        })
    }
}

/// Cosines and sines of the rotary angles. `[positions, head_dim / 2]` each
fn angles(config: &Config, num_positions: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let frequencies = config.rope.frequencies(config.head_dim);
    let angles: Vec<f32> = (0..num_positions)
        .flat_map(|position| {
            frequencies
                .iter()
                .map(move |frequency| position as f32 * frequency)
        })
        .collect();
    let table = |f: fn(f32) -> f32| {
        let values: Vec<f32> = angles.iter().map(|&angle| f(angle)).collect();
        Tensor::from_vec(values, (num_positions, frequencies.len()), device)
    };
    Ok((table(f32::cos)?, table(f32::sin)?))
}
