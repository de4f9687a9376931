//! The Llama architecture's forward over a flat batch, a paged cache and tree masks.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_kernels::{
    Graphs, Linear, Paging, add, paged_attention, rms_norm, rotate, silu_mul, write_kv,
};

use crate::activations::{Activations, Rows};
use crate::batch::Batch;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{LoadError, Quantization};
use crate::fingerprint::fingerprint;
use crate::kv_cache::{KvCache, KvShape};
use crate::logits::Logits;

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
    fingerprint: String,
    enforce_eager: bool,
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
    /// Takes the weights out of a checkpoint and prepares angles for `num_positions`; see `LoadOptions`.
    pub(crate) fn load(
        config: Config,
        take: Take<'_>,
        num_positions: usize,
        enforce_eager: bool,
    ) -> std::result::Result<Self, LoadError> {
        let vocabulary = [config.vocab_size, config.hidden_size];
        let embedding = take.matrix(&[("model.embed_tokens", vocabulary)])?;
        let lm_head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => take.matrix(&[("lm_head", vocabulary)])?,
        };
        let layers = (0..config.num_layers)
            .map(|index| Layer::load(&config, index, take))
            .collect::<std::result::Result<_, _>>()?;
        let (cos, sin) = angles(&config, num_positions, take.device)?;
        let norm = take.vector("model.norm", config.hidden_size)?;
        let fingerprint = fingerprint(
            &config,
            &norm,
            &take.weight("model.embed_tokens", &vocabulary)?,
        )?;
        Ok(Self {
            dtype: take.dtype,
            embedding,
            layers,
            norm,
            lm_head,
            cos,
            sin,
            fingerprint,
            enforce_eager,
            config,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Names these weights: what was trained for them carries the same name.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Cosines and sines of the rotary angles. `[positions, head_dim / 2]` each
    pub fn angles(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Embedding and LM head in the form that they are computed with; clones share the weights. `[vocab, hidden]` each
    pub fn vocabulary(&self) -> (&Linear, &Linear) {
        (&self.embedding, &self.lm_head)
    }

    /// A copy of the embedding. `[vocab, hidden]`
    pub fn embedding(&self) -> Result<Tensor> {
        self.all_rows(&self.embedding)
    }

    /// A copy of the LM head. `[vocab, hidden]`
    pub fn lm_head(&self) -> Result<Tensor> {
        self.all_rows(&self.lm_head)
    }

    fn all_rows(&self, matrix: &Linear) -> Result<Tensor> {
        let Config {
            vocab_size,
            hidden_size,
            ..
        } = self.config;
        let rows = Tensor::zeros((vocab_size, hidden_size), self.dtype, self.device())?;
        let all: Vec<u32> = (0..vocab_size as u32).collect();
        matrix.rows(&all, &rows)?;
        Ok(rows)
    }

    /// Positions that a row may have: 0 to one less.
    pub fn num_positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Bytes of a matrix's weight.
    pub fn weight_bytes(&self) -> usize {
        self.lm_head.weight_bytes()
    }

    /// What activations and the KV cache are held in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The layers of its cache.
    pub fn kv_shape(&self) -> KvShape {
        KvShape::new(&self.config, self.dtype)
    }

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// Buffers for this model's forwards.
    pub fn activations(&self) -> Activations {
        let graphs = match self.enforce_eager {
            true => Graphs::default(),
            false => Graphs::new(self.device()),
        };
        Activations::new(&self.config, self.dtype, self.device(), graphs)
    }

    /// Computes all rows and writes their keys and values into the cache.
    pub fn forward<'a>(
        &self,
        batch: &Batch,
        cache: &mut KvCache,
        activations: &'a mut Activations,
    ) -> Result<Output<'a>> {
        let hidden = self.compute(batch, cache, activations)?;
        let num_wanted = batch.logit_rows.len();
        let logits = activations.logits(num_wanted)?;
        // A GPU refuses to copy nothing.
        if num_wanted > 0 {
            let wanted = Tensor::from_slice(&batch.logit_rows, num_wanted, self.device())?;
            let wanted = hidden.index_select(&wanted, 0)?;
            self.lm_head.forward(&wanted, &logits)?;
        }
        Ok(Output {
            hidden,
            logits: activations.written_logits(num_wanted)?,
        })
    }

    /// As above, for no logits: every row after the final norm, until the next forward. `[rows, hidden]`
    pub fn compute(
        &self,
        batch: &Batch,
        cache: &mut KvCache,
        activations: &mut Activations,
    ) -> Result<Tensor> {
        let rows = activations.rows(batch.num_rows())?;
        self.embedding.rows(&batch.tokens, &rows.x)?;
        let common = [cache.layer(0), &self.cos];
        activations.run(&rows, &batch.paging, common, |rows, paging| {
            for (index, layer) in self.layers.iter().enumerate() {
                self.attention(layer, rows, paging, cache.layer(index))?;
                self.feed_forward(layer, rows)?;
            }
            self.norm(&rows.x, &self.norm, &rows.normed)
        })?;
        Ok(rows.normed)
    }

    /// Adds attention over the cache to the stream, this step's rows included: they are read back as stored.
    fn attention(&self, layer: &Layer, rows: &Rows, paging: &Paging, cache: &Tensor) -> Result<()> {
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
        self.norm(x, &layer.attention_norm, normed)?;
        layer.qkv.forward(normed, qkv)?;
        rotate(qkv, &self.cos, &self.sin, paging, num_heads + num_kv_heads)?;
        write_kv(cache, kv, paging)?;
        paged_attention(q, cache, paging, head_dim, mixed)?;
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
    fn load(config: &Config, index: usize, take: Take<'_>) -> std::result::Result<Self, LoadError> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let name = |name: &str| format!("model.layers.{index}.{name}");
        let matrix = |parts: &[(&str, [usize; 2])]| {
            let parts: Vec<_> = parts
                .iter()
                .map(|&(part, shape)| (name(part), shape))
                .collect();
            take.matrix(&parts)
        };
        Ok(Self {
            attention_norm: take.vector(&name("input_layernorm"), hidden)?,
            qkv: matrix(&[
                ("self_attn.q_proj", [q_width, hidden]),
                ("self_attn.k_proj", [kv_width, hidden]),
                ("self_attn.v_proj", [kv_width, hidden]),
            ])?,
            output: matrix(&[("self_attn.o_proj", [hidden, q_width])])?,
            mlp_norm: take.vector(&name("post_attention_layernorm"), hidden)?,
            gate_up: matrix(&[
                ("mlp.gate_proj", [intermediate, hidden]),
                ("mlp.up_proj", [intermediate, hidden]),
            ])?,
            down: matrix(&[("mlp.down_proj", [hidden, intermediate])])?,
        })
    }
}

/// Takes weights out of a checkpoint, into the form that they are used in.
#[derive(Clone, Copy)]
pub(crate) struct Take<'a> {
    pub(crate) checkpoint: &'a Checkpoint<'a>,
    pub(crate) dtype: DType,
    pub(crate) quantization: Option<Quantization>,
    pub(crate) device: &'a Device,
}

impl Take<'_> {
    fn weight(&self, name: &str, shape: &[usize]) -> std::result::Result<Tensor, LoadError> {
        let name = format!("{name}.weight");
        self.checkpoint.take(&name, shape, self.dtype, self.device)
    }

    /// Matrices of the same inputs as one, whose outputs stand one after another.
    fn matrix(
        &self,
        parts: &[(impl AsRef<str>, [usize; 2])],
    ) -> std::result::Result<Linear, LoadError> {
        let parts = parts
            .iter()
            .map(|(name, shape)| self.weight(name.as_ref(), shape))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let weight = match &parts[..] {
            [weight] => weight.clone(),
            parts => Tensor::cat(parts, 0)?,
        };
        Ok(match self.quantization {
            None => Linear::pack(&weight)?,
            Some(Quantization::Int8) => Linear::quantize(&weight)?,
        })
    }

    /// A norm's weights. `[1, width]`
    fn vector(&self, name: &str, width: usize) -> std::result::Result<Tensor, LoadError> {
        Ok(self.weight(name, &[width])?.reshape((1, width))?)
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
