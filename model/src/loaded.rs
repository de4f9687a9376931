//! A model with all that belongs to it, out of its files.

use candle_core::Device;

use crate::Token;
use crate::chat_template::ChatTemplate;
use crate::checkpoint::Shards;
use crate::config::Config;
use crate::error::{Dtype, LoadError, Quantization};
use crate::generation_config::GenerationConfig;
use crate::llama::{Llama, Take};
use crate::sampling_params::SamplingParams;
use crate::source::ModelSource;
use crate::tokenizer::Tokenizer;

/// Everything that a Hugging Face directory says about a model.
#[derive(Debug)]
pub struct LoadedModel {
    /// The weights.
    pub llama: Llama,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// None if the model is not a chat model.
    pub chat_template: Option<ChatTemplate>,
    /// Sampling where a request states none.
    pub defaults: SamplingParams,
    /// Tokens that end an output.
    pub eos_token_ids: Vec<Token>,
    /// Tokens of prompt and output together.
    pub max_model_len: usize,
}

/// How a model is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// What weights, activations and the KV cache are held in.
    pub dtype: Dtype,
    /// What matrices are rounded to.
    pub quantization: Option<Quantization>,
    /// May shorten the model's context, not stretch it.
    pub max_model_len: Option<usize>,
    /// Launches a GPU's kernels one by one, in place of replaying what a step like this one launched.
    pub enforce_eager: bool,
}

impl LoadedModel {
    /// Reads a model.
    pub fn load(
        source: &ModelSource,
        options: LoadOptions,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let config = Config::from_json(&source.read("config.json")?)?;
        let most = config.max_position_embeddings;
        let max_model_len = options.max_model_len.unwrap_or(most);
        if !(1..=most).contains(&max_model_len) {
            return Err(LoadError::Unsupported {
                field: "max_position_embeddings".to_owned(),
                found: most.to_string(),
                expected: format!(
                    "at least the context length asked for, which is {max_model_len}"
                ),
            });
        }
        let generation = match source.find("generation_config.json")? {
            Some(json) => GenerationConfig::from_json(&json)?,
            None => GenerationConfig::default(),
        };
        let tokenizer = Tokenizer::from_bytes(&source.read("tokenizer.json")?)
            .map_err(|error| LoadError::malformed("tokenizer.json", error))?;
        let chat_template = match source.find("tokenizer_config.json")? {
            Some(json) => ChatTemplate::from_tokenizer_config(&json)
                .map_err(|error| LoadError::malformed("tokenizer_config.json", error))?,
            None => None,
        };
        let defaults = generation.defaults();
        let eos_token_ids = generation
            .eos_token_ids()
            .unwrap_or_else(|| config.eos_token_ids.clone());

        let shards = Shards::open(source)?;
        let checkpoint = shards.checkpoint()?;
        let stored = checkpoint
            .stored_dtype("model.embed_tokens.weight")
            .unwrap_or(candle_core::DType::F32);
        let take = Take {
            checkpoint: &checkpoint,
            dtype: options.dtype.resolve(stored),
            quantization: options.quantization,
            device,
        };
        let llama = Llama::load(config, take, max_model_len, options.enforce_eager)?;
        // Old checkpoints store the rotary frequencies, and some a copy of the tied embedding.
        let tied = llama.config().tie_word_embeddings;
        checkpoint.finish(|name| {
            name.ends_with(".rotary_emb.inv_freq") || tied && name == "lm_head.weight"
        })?;
        Ok(Self {
            llama,
            tokenizer,
            chat_template,
            defaults,
            eos_token_ids,
            max_model_len,
        })
    }
}
