//! A model with all that belongs to it, out of its files.

use candle_core::Device;

use crate::Token;
use crate::chat_template::ChatTemplate;
use crate::checkpoint::Shards;
use crate::config::Config;
use crate::error::{Dtype, LoadError};
use crate::generation_config::GenerationConfig;
use crate::llama::Llama;
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

impl LoadedModel {
    /// Reads a model. `max_model_len` may shorten its context, not stretch it.
    pub fn load(
        source: &ModelSource,
        dtype: Dtype,
        max_model_len: Option<usize>,
        device: &Device,
    ) -> Result<Self, LoadError> {
        let config = Config::from_json(&source.read("config.json")?)?;
        let most = config.max_position_embeddings;
        let max_model_len = max_model_len.unwrap_or(most);
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
        let llama = Llama::load(
            config,
            checkpoint,
            dtype.resolve(stored),
            max_model_len,
            device,
        )?;
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
