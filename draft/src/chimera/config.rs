//! `config.json` of a trained drafter: its shape, and which target it was trained for.

use foretoken_model::Config;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A drafter's shape.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ChimeraConfig {
    model_type: ModelType,
    /// What a head is.
    pub form: Form,
    /// Width of the target's hidden rows.
    pub hidden_size: usize,
    /// Rows of the target's embedding.
    pub vocab_size: usize,
    /// Width of the trigram encoder.
    pub trigram_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Drafting steps that have a head of their own; deeper ones use the last.
    pub num_heads: usize,
    /// Tokens that can be drafted, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_vocab_size: Option<usize>,
    /// The target's name: [`foretoken_model::Llama::fingerprint`].
    pub target_fingerprint: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
enum ModelType {
    #[serde(rename = "chimera")]
    Chimera,
}

/// What a head is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A residual of `[hidden, 2 hidden]` before the target's own LM head.
    Lean,
    /// An LM head of its own over `[vocab, 2 hidden]`, as published.
    Faithful,
}

/// Why a drafter does not fit.
#[derive(Debug, Error, PartialEq)]
pub enum ConfigError {
    /// Not JSON, or not all of it.
    #[error("config.json: {0}")]
    Malformed(String),
    /// A size that no drafter of this target has.
    #[error("config.json: `{field}` is {found}, expected {expected}")]
    Unsupported {
        /// The field's name.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: String,
    },
}

impl ChimeraConfig {
    /// A drafter of a target's own layer sizes, with `num_heads` heads.
    pub fn of_target(target: &Config, fingerprint: &str, form: Form, num_heads: usize) -> Self {
        Self {
            model_type: ModelType::Chimera,
            form,
            hidden_size: target.hidden_size,
            vocab_size: target.vocab_size,
            trigram_size: target.hidden_size,
            num_attention_heads: target.num_heads,
            num_key_value_heads: target.num_kv_heads,
            head_dim: target.head_dim,
            intermediate_size: target.intermediate_size,
            rms_norm_eps: target.rms_norm_eps,
            num_heads,
            draft_vocab_size: None,
            target_fingerprint: fingerprint.to_owned(),
        }
    }

    /// Reads the contents of a `config.json` and checks them against the target.
    pub fn from_json(json: &[u8], target: &Config, fingerprint: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)
            .map_err(|error| ConfigError::Malformed(error.to_string()))?;
        config.check(target, fingerprint)?;
        Ok(config)
    }

    /// Whether a drafter of this shape can draft for the target.
    pub fn check(&self, target: &Config, fingerprint: &str) -> Result<(), ConfigError> {
        let same = [
            ("hidden_size", self.hidden_size, target.hidden_size),
            ("vocab_size", self.vocab_size, target.vocab_size),
            // The target's rotary angles are used.
            ("head_dim", self.head_dim, target.head_dim),
        ];
        for (field, found, expected) in same {
            if found != expected {
                let expected = format!("the target's {expected}");
                return Err(unsupported(field, found, expected));
            }
        }
        // No drafter comes near; with the bound no product of two sizes overflows.
        const MOST: usize = 1 << 28;
        let sizes = [
            ("trigram_size", self.trigram_size, MOST),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            (
                "num_key_value_heads",
                self.num_key_value_heads,
                self.num_attention_heads,
            ),
            ("intermediate_size", self.intermediate_size, MOST),
            ("num_heads", self.num_heads, 64),
            ("draft_vocab_size", self.num_draft_tokens(), self.vocab_size),
        ];
        for (field, found, most) in sizes {
            if !(1..=most).contains(&found) {
                return Err(unsupported(field, found, format!("1 to {most}")));
            }
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            let expected = format!("a divisor of num_attention_heads, which is {heads}");
            return Err(unsupported("num_key_value_heads", kv_heads, expected));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(unsupported("rms_norm_eps", self.rms_norm_eps, "0 or more"));
        }
        if self.target_fingerprint != fingerprint {
            let expected = format!("the target's, which is {fingerprint}");
            let found = &self.target_fingerprint;
            return Err(unsupported("target_fingerprint", found, expected));
        }
        Ok(())
    }

    /// Width of the queries of a row.
    pub fn q_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of the keys of a row, and of its values.
    pub fn kv_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Tokens that can be drafted.
    pub fn num_draft_tokens(&self) -> usize {
        self.draft_vocab_size.unwrap_or(self.vocab_size)
    }

    /// Every weight of `model.safetensors` by name, with its shape.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (d, r, m) = (self.hidden_size, self.trigram_size, self.intermediate_size);
        let (q, kv) = (self.q_width(), self.kv_width());
        let mut shapes: Vec<(String, Vec<usize>)> = [
            ("trigram.first.weight", vec![r, d]),
            ("trigram.second.weight", vec![r, d]),
            ("trigram.third.weight", vec![r, d]),
            ("trigram.output.weight", vec![d, r]),
            ("layer.context_norm.weight", vec![d]),
            ("layer.attention_norm.weight", vec![d]),
            ("layer.q_proj.weight", vec![q, d]),
            ("layer.k_proj.weight", vec![kv, d]),
            ("layer.v_proj.weight", vec![kv, d]),
            ("layer.o_proj.weight", vec![d, q]),
            ("layer.mlp_norm.weight", vec![d]),
            ("layer.gate_proj.weight", vec![m, d]),
            ("layer.up_proj.weight", vec![m, d]),
            ("layer.down_proj.weight", vec![d, m]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        let outputs = match self.form {
            Form::Lean => d,
            Form::Faithful => self.num_draft_tokens(),
        };
        shapes.extend((0..self.num_heads).map(|k| (head(k), vec![outputs, 2 * d])));
        shapes
    }
}

/// How heads' names begin.
pub(super) const HEADS: &str = "heads.";

/// A head's name.
pub(super) fn head(k: usize) -> String {
    format!("{HEADS}{k}.weight")
}

fn unsupported(
    field: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> ConfigError {
    ConfigError::Unsupported {
        field,
        found: found.to_string(),
        expected: expected.into(),
    }
}
