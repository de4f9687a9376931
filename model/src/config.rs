//! `config.json`: every field that changes the arithmetic is supported, or refused by name.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Token;
use crate::error::{CONFIG, LoadError};
use crate::rope::Rope;

/// A Llama model's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Heads of keys and values; each serves `num_heads / num_kv_heads` query heads.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions that the model was trained for.
    pub max_position_embeddings: usize,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Rotary embedding.
    pub rope: Rope,
    /// The LM head is the embedding.
    pub tie_word_embeddings: bool,
    /// Tokens that end an output; `generation_config.json` may name others.
    pub eos_token_ids: Vec<Token>,
}

/// A token id or a list of them, as both config files write end-of-sequence tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(Token),
    Many(Vec<Token>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<Token> {
        match self {
            Self::One(token) => vec![token],
            Self::Many(tokens) => tokens,
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    #[serde(default = "default_context")]
    max_position_embeddings: usize,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    rope_theta: Option<f32>,
    rope_scaling: Option<Map<String, Value>>,
    rope_parameters: Option<Map<String, Value>>,
    #[serde(default)]
    tie_word_embeddings: bool,
    eos_token_id: Option<OneOrMany>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

// What `transformers` fills in for a field that is missing.
fn default_context() -> usize {
    2048
}

fn default_eps() -> f64 {
    1e-6
}

/// Fields that would change the arithmetic, with the only values for which they do not.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("model_type", &["\"llama\""]),
    ("architectures", &["[\"LlamaForCausalLM\"]", "null"]),
    ("hidden_act", &["\"silu\"", "\"swish\""]),
    ("attention_bias", &["false", "null"]),
    ("mlp_bias", &["false", "null"]),
    ("pretraining_tp", &["1", "null"]),
    ("quantization_config", &["null"]),
    ("sliding_window", &["null"]),
    ("partial_rotary_factor", &["1.0", "1", "null"]),
    ("rope_interleaved", &["false", "null"]),
    ("attn_logit_softcapping", &["null"]),
    ("final_logit_softcapping", &["null"]),
    ("logit_scale", &["1.0", "1", "null"]),
    ("logits_scaling", &["1.0", "1", "null"]),
    ("attention_multiplier", &["null"]),
    ("embedding_multiplier", &["1.0", "1", "null"]),
    ("residual_multiplier", &["1.0", "1", "null"]),
    ("num_local_experts", &["null"]),
];

impl Config {
    /// Reads the contents of a `config.json`.
    pub fn from_json(json: &[u8]) -> Result<Self, LoadError> {
        let raw: Raw =
            serde_json::from_slice(json).map_err(|error| LoadError::malformed(CONFIG, error))?;
        refuse_unsupported(&raw.rest)?;
        let num_heads = raw.num_attention_heads;
        let config = Self {
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads,
            num_kv_heads: raw.num_key_value_heads.unwrap_or(num_heads),
            head_dim: raw.head_dim.unwrap_or(raw.hidden_size / num_heads.max(1)),
            vocab_size: raw.vocab_size,
            max_position_embeddings: raw.max_position_embeddings,
            rms_norm_eps: raw.rms_norm_eps,
            rope: Rope::read(raw.rope_theta, raw.rope_scaling, raw.rope_parameters)?,
            tie_word_embeddings: raw.tie_word_embeddings,
            eos_token_ids: raw
                .eos_token_id
                .map(OneOrMany::into_vec)
                .unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), LoadError> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_layers),
            ("num_attention_heads", self.num_heads),
            ("num_key_value_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // No model comes near; with the bound no product of two sizes overflows.
        const MOST: usize = 1 << 28;
        for (field, size) in sizes {
            if !(1..=MOST).contains(&size) {
                return Err(LoadError::unsupported(field, size, format!("1 to {MOST}")));
            }
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let expected = format!(
                "a divisor of num_attention_heads, which is {}",
                self.num_heads
            );
            return Err(LoadError::unsupported(
                "num_key_value_heads",
                self.num_kv_heads,
                expected,
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(LoadError::unsupported(
                "head_dim",
                self.head_dim,
                "an even number",
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(LoadError::unsupported(
                "rms_norm_eps",
                self.rms_norm_eps,
                "0 or more",
            ));
        }
        Ok(())
    }

    /// Width of the queries of a row.
    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Width of the keys of a row, and of its values.
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }
}

fn refuse_unsupported(rest: &Map<String, Value>) -> Result<(), LoadError> {
    for (field, neutral) in NEUTRAL {
        if let Some(value) = rest.get(*field)
            && !neutral.contains(&value.to_string().as_str())
        {
            return Err(LoadError::unsupported(field, value, neutral.join(" or ")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
            "intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8, "vocab_size": 512,
            "transformers_version": "4.40.0", "use_cache": true, "attention_dropout": 0.0
        })
    }

    fn with(changes: Value) -> Result<Config, LoadError> {
        let mut config = base();
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        Config::from_json(config.to_string().as_bytes())
    }

    #[test]
    fn missing_fields_are_filled_as_transformers_fills_them() {
        let config = with(json!({})).unwrap();
        assert_eq!((config.num_kv_heads, config.head_dim), (8, 8));
        assert_eq!(
            config.rope,
            Rope {
                theta: 10_000.0,
                scaling: None
            }
        );
        assert!(!config.tie_word_embeddings && config.eos_token_ids.is_empty());
    }

    #[test]
    fn fields_that_change_the_arithmetic_are_read() {
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let config =
            with(json!({"rope_theta": 5e5, "rope_scaling": llama3, "eos_token_id": [1, 2]}))
                .unwrap();
        assert_eq!(config.rope.theta, 5e5);
        assert_eq!(config.rope.scaling.map(|scaling| scaling.factor), Some(8.0));
        assert_eq!(config.eos_token_ids, [1, 2]);
        let config =
            with(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 3.0}})).unwrap();
        assert_eq!(
            config.rope,
            Rope {
                theta: 3.0,
                scaling: None
            }
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let cases = [
            (
                json!({"model_type": "gemma"}),
                "`model_type` is \"gemma\", expected \"llama\"",
            ),
            (json!({"hidden_act": "gelu"}), "`hidden_act` is \"gelu\""),
            (
                json!({"attention_bias": true}),
                "`attention_bias` is true, expected false",
            ),
            (json!({"mlp_bias": true}), "`mlp_bias`"),
            (
                json!({"quantization_config": {"bits": 4}}),
                "`quantization_config`",
            ),
            (
                json!({"sliding_window": 4096}),
                "`sliding_window` is 4096, expected null",
            ),
            (
                json!({"partial_rotary_factor": 0.5}),
                "`partial_rotary_factor` is 0.5",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
                "`rope_scaling.rope_type` is \"linear\"",
            ),
            (
                json!({"rope_scaling": {"factor": 4.0}}),
                "`rope_scaling.factor` is 4.0",
            ),
            (
                json!({"rope_scaling": {"rope_type": 7}}),
                "`rope_scaling.rope_type` is 7",
            ),
            (
                json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
                "`rope_parameters.partial_rotary_factor` is 0.5",
            ),
            (
                json!({"rope_parameters": {"rope_theta": 1e4}, "rope_scaling": {"rope_type": "default"}}),
                "expected null beside rope_parameters",
            ),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 0.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}),
                "`rope_scaling.factor` is 0, expected above 0",
            ),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}),
                "expected above low_freq_factor",
            ),
            (
                json!({"rope_scaling": {"rope_type": "llama3"}}),
                "rope_scaling: missing field `factor`",
            ),
            (
                json!({"num_key_value_heads": 3}),
                "`num_key_value_heads` is 3, expected a divisor of",
            ),
            (
                json!({"num_attention_heads": 0}),
                "`num_attention_heads` is 0",
            ),
            (
                json!({"head_dim": 7}),
                "`head_dim` is 7, expected an even number",
            ),
            (
                json!({"vocab_size": u64::MAX}),
                "`vocab_size` is 18446744073709551615",
            ),
            (
                json!({"hidden_size": null}),
                "config.json: invalid type: null",
            ),
        ];
        for (changes, problem) in cases {
            let error = with(changes.clone()).unwrap_err().to_string();
            assert!(error.contains(problem), "{changes}: {error}");
        }
    }
}
