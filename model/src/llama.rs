//! The Llama architecture's forward over a flat batch, a paged cache and tree masks.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_kernels::{
    Linear, Paging, add, paged_attention, rms_norm, rotate, silu_mul, write_kv,
};

use crate::activations::{Activations, Logits, Rows};
use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::LoadError;
use crate::kv_cache::KvCache;

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
pub struct Output<'a> {
    /// Every row after the final norm; the next forward overwrites it. `[rows, hidden]`
    pub hidden: Tensor,
    /// The rows that the batch asked logits for.
    pub logits: Logits<'a>,
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

    /// Buffers for this model's forwards.
    pub fn activations(&self) -> Activations {
        Activations::new(&self.config, self.dtype, self.device())
    }

    /// Computes all rows and writes their keys and values into the cache.
    pub fn forward<'a>(
        &self,
        batch: &Batch,
        cache: &mut KvCache,
        activations: &'a mut Activations,
    ) -> Result<Output<'a>> {
        let rows = activations.rows(batch.num_rows())?;
        self.embedding.rows(&batch.tokens, &rows.x)?;
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(layer, &rows, batch, cache.layer(index))?;
            self.feed_forward(layer, &rows)?;
        }
        self.norm(&rows.x, &self.norm, &rows.normed)?;
        let num_wanted = batch.logit_rows.len();
        let wanted = Tensor::from_slice(&batch.logit_rows, num_wanted, self.device())?;
        let wanted = rows.normed.index_select(&wanted, 0)?;
        self.lm_head
            .forward(&wanted, &activations.logits(num_wanted)?)?;
        Ok(Output {
            hidden: rows.normed,
            logits: activations.read_logits(num_wanted)?,
        })
    }

    /// Adds attention over the cache to the stream, this step's rows included: they are read back as stored.
    fn attention(&self, layer: &Layer, rows: &Rows, batch: &Batch, cache: &Tensor) -> Result<()> {
        let Config {
            num_heads,
            num_kv_heads,
            head_dim,
            ..
        } = self.config;
        let Rows {
            x,
            normed,
            added,
            qkv,
            q,
            kv,
            mixed,
            ..
        } = rows;
        let Paging { positions, .. } = &batch.paging;
        self.norm(x, &layer.attention_norm, normed)?;
        layer.qkv.forward(normed, qkv)?;
        rotate(
            qkv,
            &self.cos,
            &self.sin,
            positions,
            num_heads + num_kv_heads,
        )?;
        write_kv(cache, kv, &batch.slot_mapping)?;
        paged_attention(q, cache, &batch.paging, head_dim, mixed)?;
        layer.output.forward(mixed, added)?;
        add(x, added)
    }

    fn feed_forward(&self, layer: &Layer, rows: &Rows) -> Result<()> {
        let Rows {
            x,
            normed,
            added,
            gate_up,
            gated,
            ..
        } = rows;
        self.norm(x, &layer.mlp_norm, normed)?;
        layer.gate_up.forward(normed, gate_up)?;
        silu_mul(gate_up, gated)?;
        layer.down.forward(gated, added)?;
        add(x, added)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor, y: &Tensor) -> Result<()> {
        rms_norm(x, weight, self.config.rms_norm_eps as f32, y)
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
