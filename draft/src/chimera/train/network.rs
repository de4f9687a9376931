//! The drafter's forward, out of operations that have gradients.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Result, Tensor};
use candle_nn::ops::rms_norm_slow;
use foretoken_model::{Llama, Token};

use super::attention::{Sight, attend};
use super::example::Example;
use super::files;
use super::options::{Ablation, TrainOptions};
use super::parameters::Parameters;
use crate::chimera::config::HEADS;
use crate::chimera::weights::DRAFT_VOCAB;
use crate::chimera::{ChimeraConfig, Form};

/// The drafter as it is trained: slow, and with gradients. What is served computes the same.
#[derive(Debug)]
pub struct Network {
    pub(super) config: ChimeraConfig,
    pub(super) parameters: Parameters,
    ablation: Ablation,
    /// What products are computed in.
    dtype: DType,
    embedding: Tensor,          // [vocab, hidden]
    pub(super) lm_head: Tensor, // [vocab, hidden]
    cos: Tensor,                // [positions, head_dim / 2]
    sin: Tensor,                // [positions, head_dim / 2]
}

/// What each step's head reads.
pub(super) struct Drafts {
    /// The estimate of the target's hidden row. `[anchors, hidden]` by step
    pub(super) estimates: Vec<Tensor>,
    /// The last computed row and the encoder's output. `[anchors, 2 * hidden]` by step
    pub(super) pairs: Vec<Tensor>,
}

impl Network {
    /// An untrained drafter beside the frozen parts of its target.
    pub(super) fn new(
        llama: &Llama,
        config: ChimeraConfig,
        options: &TrainOptions,
    ) -> Result<Self> {
        let lm_head = llama.lm_head()?.to_dtype(DType::F32)?;
        let (cos, sin) = llama.angles();
        Ok(Self {
            parameters: Parameters::new(&config, options.ablation, &lm_head, options.seed)?,
            config,
            ablation: options.ablation,
            dtype: match options.bfloat16 {
                true => DType::BF16,
                false => DType::F32,
            },
            embedding: llama.embedding()?.to_dtype(DType::F32)?,
            lm_head,
            cos: cos.clone(),
            sin: sin.clone(),
        })
    }

    /// A drafter of random weights, no part of which is silent: for tests of what is served.
    pub fn random(llama: &Llama, config: ChimeraConfig, seed: u64) -> Result<Self> {
        let network = Self::new(llama, config, &TrainOptions::default())?;
        network.parameters.randomise(seed)?;
        Ok(network)
    }

    /// Reads a trained drafter.
    pub fn open(llama: &Llama, folder: &Path) -> Result<Self> {
        let json = std::fs::read(folder.join(CONFIG))?;
        let config = ChimeraConfig::from_json(&json, llama.config(), llama.fingerprint());
        let config = config.map_err(candle_core::Error::wrap)?;
        let network = Self::new(llama, config, &TrainOptions::default())?;
        let tensors = candle_core::safetensors::load(folder.join(WEIGHTS), llama.device())?;
        network.parameters.set(|name| tensors.get(name))?;
        Ok(network)
    }

    /// Writes the drafter into a folder: `config.json` and `model.safetensors`.
    ///
    /// `draft_vocab`: the tokens that it can draft then, if not all. It is trained over all of them either way.
    pub fn save(&self, folder: &Path, dtype: DType, draft_vocab: Option<&[Token]>) -> Result<()> {
        let mut config = self.config.clone();
        config.draft_vocab_size = draft_vocab.map(<[Token]>::len);
        let json = serde_json::to_vec_pretty(&config).map_err(candle_core::Error::wrap)?;
        std::fs::write(folder.join(CONFIG), json)?;
        let rows = draft_vocab
            .map(|tokens| Tensor::new(tokens, self.lm_head.device()))
            .transpose()?;
        let has_rows = |name: &str| config.form == Form::Faithful && name.starts_with(HEADS);
        let mut weights = HashMap::new();
        for (name, mut weight) in self.parameters.served(&config)? {
            if let Some(rows) = &rows
                && has_rows(&name)
            {
                weight = weight.index_select(rows, 0)?;
            }
            weights.insert(name, weight.to_dtype(dtype)?);
        }
        weights.extend(rows.map(|rows| (DRAFT_VOCAB.to_owned(), rows)));
        files::write(&folder.join(WEIGHTS), &weights)
    }

    /// Scores of every step from every anchor, each step reading the text. `[anchors, vocab]` by step
    ///
    /// `hidden`: the target's rows, `[rows, hidden]`, float32.
    pub fn scores(
        &self,
        example: &Example,
        hidden: &Tensor,
        num_steps: usize,
    ) -> Result<Vec<Tensor>> {
        let branches = example.branches(num_steps);
        let drafts = self.forward(example, hidden, &branches, num_steps)?;
        let scores = |step| {
            let (inputs, head) = self.head_inputs(&drafts, step);
            inputs.detach().matmul(&head.detach().t()?)
        };
        (0..num_steps).map(scores).collect()
    }

    /// What a step's head reads, and the head. `[anchors, width]`, `[vocab, width]`
    pub(super) fn head_inputs<'a>(
        &'a self,
        drafts: &'a Drafts,
        step: usize,
    ) -> (&'a Tensor, &'a Tensor) {
        match self.config.form {
            Form::Lean => (&drafts.estimates[step], &self.lm_head),
            Form::Faithful => (&drafts.pairs[step], self.head(step)),
        }
    }

    /// Drafts `num_steps` steps from each anchor, reading `branches`.
    ///
    /// `hidden`: the target's rows, `[rows, hidden]`; `branches`: `[anchors, steps]`.
    pub(super) fn forward(
        &self,
        example: &Example,
        hidden: &Tensor,
        branches: &[u32],
        num_steps: usize,
    ) -> Result<Drafts> {
        let x = self.trigram(&example.trigrams(branches, num_steps))?;
        let y = (&x + self.attention(example, hidden, &x, num_steps)?)?;
        let o = (&y + self.feed_forward(&y)?)?;
        self.heads(example, hidden, &o, num_steps)
    }

    /// A row's three tokens as one. `[rows, hidden]`
    fn trigram(&self, [first, second, third]: &[Vec<u32>; 3]) -> Result<Tensor> {
        let own = self.embed(third)?;
        if self.ablation.no_trigram {
            return Ok(own);
        }
        let first = self.linear(&self.embed(first)?, "trigram.first.weight")?;
        let second = self.linear(&self.embed(second)?, "trigram.second.weight")?;
        let third = self.linear(&own, "trigram.third.weight")?;
        let inner = ((first + second)? + third)?.silu()?;
        own + self.linear(&inner, "trigram.output.weight")?
    }

    fn attention(
        &self,
        example: &Example,
        hidden: &Tensor,
        x: &Tensor,
        num_steps: usize,
    ) -> Result<Tensor> {
        if self.ablation.no_context {
            return x.zeros_like();
        }
        let device = x.device();
        let context = self.norm(hidden, "layer.context_norm.weight")?;
        let n = self.norm(x, "layer.attention_norm.weight")?;
        let keys_of = Tensor::cat(&[&context, &n], 0)?;
        let row_positions = example.branch_positions(num_steps);
        let num_rows = row_positions.len();
        let key_positions: Vec<u32> = example.positions().chain(row_positions).collect();
        let key_positions = Tensor::new(key_positions, device)?;
        let row_positions = key_positions.narrow(0, example.tokens().len(), num_rows)?;
        let q = self.rotate(&self.linear(&n, "layer.q_proj.weight")?, &row_positions)?;
        let k = self.rotate(
            &self.linear(&keys_of, "layer.k_proj.weight")?,
            &key_positions,
        )?;
        let v = self.linear(&keys_of, "layer.v_proj.weight")?;
        let sight = Sight::new(example, num_steps);
        let mixed = attend(&q, &k, &v, sight, self.config.head_dim)?;
        self.linear(&mixed, "layer.o_proj.weight")
    }

    fn feed_forward(&self, y: &Tensor) -> Result<Tensor> {
        let m = self.norm(y, "layer.mlp_norm.weight")?;
        let gate = self.linear(&m, "layer.gate_proj.weight")?.silu()?;
        let up = self.linear(&m, "layer.up_proj.weight")?;
        self.linear(&(gate * up)?, "layer.down_proj.weight")
    }

    fn heads(
        &self,
        example: &Example,
        hidden: &Tensor,
        o: &Tensor,
        num_steps: usize,
    ) -> Result<Drafts> {
        let rows: Vec<u32> = example
            .anchors()
            .iter()
            .map(|anchor| anchor.row as u32)
            .collect();
        let num_anchors = rows.len();
        let last = hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?;
        let last = match self.ablation.no_residual {
            true => last.zeros_like()?,
            false => last,
        };
        let o = o.reshape((num_anchors, num_steps, self.config.hidden_size))?;
        let mut drafts = Drafts {
            estimates: Vec::new(),
            pairs: Vec::new(),
        };
        for step in 0..num_steps {
            let o = o.narrow(1, step, 1)?.squeeze(1)?;
            let pair = Tensor::cat(&[&last, &o], 1)?;
            let estimate = (&last + &o)?;
            drafts.estimates.push(match self.config.form {
                Form::Lean => (estimate + self.product(&pair, self.head(step))?)?,
                Form::Faithful => estimate,
            });
            drafts.pairs.push(pair);
        }
        Ok(drafts)
    }

    /// Step k's head; the last one also for deeper steps.
    fn head(&self, step: usize) -> &Tensor {
        self.parameters.head(step.min(self.config.num_heads - 1))
    }

    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let tokens = Tensor::new(tokens, self.embedding.device())?;
        self.embedding.index_select(&tokens, 0)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        rms_norm_slow(
            x,
            self.parameters.get(name),
            self.config.rms_norm_eps as f32,
        )
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        self.product(x, self.parameters.get(name))
    }

    fn product(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let weight = weight.to_dtype(self.dtype)?.t()?;
        x.to_dtype(self.dtype)?
            .matmul(&weight)?
            .to_dtype(DType::F32)
    }

    /// Element i of a head's first half pairs with element i of its second half. `x`: `[rows, heads * head_dim]`
    fn rotate(&self, x: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let (num_rows, width) = x.dims2()?;
        let half = self.config.head_dim / 2;
        let angle = |table: &Tensor| table.index_select(positions, 0)?.unsqueeze(1);
        let (cos, sin) = (angle(&self.cos)?, angle(&self.sin)?);
        let x = x.reshape((num_rows, width / (2 * half), 2 * half))?;
        let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[first, second], 2)?.reshape((num_rows, width))
    }
}

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
