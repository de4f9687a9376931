//! A trained drafter's weights, out of a folder of `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use foretoken_kernels::Linear;
use foretoken_model::{Checkpoint, Llama, LoadError, ModelSource, Shards, Token};
use thiserror::Error;

use super::config::{ChimeraConfig, ConfigError, Form, head};

/// Why a drafter does not load.
#[derive(Debug, Error)]
pub enum ChimeraError {
    /// Its shape.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its files and tensors.
    #[error(transparent)]
    File(#[from] LoadError),
    /// A token that can be drafted is none of the target's.
    #[error("tensor `{DRAFT_VOCAB}` names token {token}, but the target has {vocab_size}")]
    NoSuchToken {
        /// Its id.
        token: Token,
        /// The target's tokens.
        vocab_size: usize,
    },
    /// A token that can be drafted stands twice.
    #[error("tensor `{DRAFT_VOCAB}` names token {token} twice")]
    TokenTwice {
        /// Its id.
        token: Token,
    },
}

/// All weights, in the target's dtype and in the form that they are computed with.
#[derive(Debug)]
pub(super) struct Weights {
    /// What a token adds to a trigram as its first, second and third. `[3 * trigram, hidden]`
    pub(super) trigram_parts: Linear,
    pub(super) trigram_output: Linear, // [hidden, trigram]
    pub(super) context_norm: Tensor,   // [1, hidden]
    pub(super) context_kv: Linear,     // [2 * kv_width, hidden]
    pub(super) attention_norm: Tensor, // [1, hidden]
    pub(super) qkv: Linear,            // [q_width + 2 * kv_width, hidden]
    pub(super) output: Linear,         // [hidden, q_width]
    pub(super) mlp_norm: Tensor,       // [1, hidden]
    pub(super) gate_up: Linear,        // [2 * intermediate, hidden]
    pub(super) down: Linear,           // [hidden, intermediate]
    pub(super) heads: Vec<Linear>,     // [hidden or draft vocab, 2 * hidden]
    /// The target's, its rows being those of the draft vocabulary; only the lean form has one. `[draft vocab, hidden]`
    pub(super) lm_head: Option<Linear>,
    /// Tokens that can be drafted, if not all.
    pub(super) draft_vocab: Option<Arc<[Token]>>,
}

impl Weights {
    /// Takes all tensors that `config` asks for; there may be no others.
    pub(super) fn load(
        source: &ModelSource,
        config: &ChimeraConfig,
        target: &Llama,
    ) -> Result<Self, ChimeraError> {
        let shards = Shards::open(source)?;
        let checkpoint = shards.checkpoint()?;
        let draft_vocab = match config.draft_vocab_size {
            Some(len) => Some(draft_vocab(&checkpoint, len, config.vocab_size)?),
            None => None,
        };
        let take = Take {
            checkpoint: &checkpoint,
            shapes: config.shapes().into_iter().collect(),
            dtype: target.dtype(),
            device: target.device(),
        };
        let heads = (0..config.num_heads).map(|k| take.matrix(&[&head(k)]));
        let weights = Self {
            trigram_parts: take.matrix(&[
                "trigram.first.weight",
                "trigram.second.weight",
                "trigram.third.weight",
            ])?,
            trigram_output: take.matrix(&["trigram.output.weight"])?,
            context_norm: take.vector("layer.context_norm.weight")?,
            context_kv: take.matrix(&[K_PROJ, V_PROJ])?,
            attention_norm: take.vector("layer.attention_norm.weight")?,
            qkv: take.matrix(&["layer.q_proj.weight", K_PROJ, V_PROJ])?,
            output: take.matrix(&["layer.o_proj.weight"])?,
            mlp_norm: take.vector("layer.mlp_norm.weight")?,
            gate_up: take.matrix(&["layer.gate_proj.weight", "layer.up_proj.weight"])?,
            down: take.matrix(&["layer.down_proj.weight"])?,
            heads: heads.collect::<Result<_, _>>()?,
            lm_head: match config.form {
                Form::Lean => Some(lm_head(target, draft_vocab.as_deref())?),
                Form::Faithful => None,
            },
            draft_vocab: draft_vocab.map(Arc::from),
        };
        checkpoint.finish(|_| false)?;
        Ok(weights)
    }
}

/// The list of tokens that can be drafted.
pub(super) const DRAFT_VOCAB: &str = "draft_vocab";
const K_PROJ: &str = "layer.k_proj.weight";
const V_PROJ: &str = "layer.v_proj.weight";

fn draft_vocab(
    checkpoint: &Checkpoint<'_>,
    len: usize,
    vocab_size: usize,
) -> Result<Vec<Token>, ChimeraError> {
    let tokens = checkpoint.take_tokens(DRAFT_VOCAB, len)?;
    let mut sorted = tokens.clone();
    sorted.sort_unstable();
    if let Some(&token) = sorted.last()
        && token as usize >= vocab_size
    {
        return Err(ChimeraError::NoSuchToken { token, vocab_size });
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ChimeraError::TokenTwice { token: pair[0] }),
        None => Ok(tokens),
    }
}

/// The target's LM head, or those rows of it that can be drafted.
fn lm_head(target: &Llama, draft_vocab: Option<&[Token]>) -> Result<Linear, LoadError> {
    let (_, lm_head) = target.vocabulary();
    let Some(tokens) = draft_vocab else {
        return Ok(lm_head.clone());
    };
    let shape = (tokens.len(), target.config().hidden_size);
    let rows = Tensor::zeros(shape, target.dtype(), target.device())?;
    lm_head.rows(tokens, &rows)?;
    Ok(Linear::pack(&rows)?)
}

/// Takes weights by name, with the shapes that the configuration gives them.
struct Take<'a> {
    checkpoint: &'a Checkpoint<'a>,
    shapes: BTreeMap<String, Vec<usize>>,
    dtype: DType,
    device: &'a Device,
}

impl Take<'_> {
    fn weight(&self, name: &str) -> Result<Tensor, LoadError> {
        let shape = self.shapes.get(name).map_or(&[][..], Vec::as_slice);
        self.checkpoint.take(name, shape, self.dtype, self.device)
    }

    /// Matrices of the same inputs as one, whose outputs stand one after another.
    fn matrix(&self, names: &[&str]) -> Result<Linear, LoadError> {
        let parts = names.iter().map(|name| self.weight(name));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        Ok(Linear::pack(&Tensor::cat(&parts, 0)?)?)
    }

    /// A norm's weights. `[1, width]`
    fn vector(&self, name: &str) -> Result<Tensor, LoadError> {
        Ok(self.weight(name)?.unsqueeze(0)?)
    }
}
