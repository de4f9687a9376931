//! The drafter `model`'s weights.

use std::path::Path;

use candle_core::Device;
use foretoken_draft::ModelDrafter;
use foretoken_model::{Config, LoadError, LoadOptions, LoadedModel, ModelSource, Token};
use thiserror::Error;

use crate::engine::BLOCK_SIZE;

/// Why a draft model is not taken.
#[derive(Debug, Error)]
pub enum DraftModelError {
    /// Its files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It speaks other tokens.
    #[error(
        "its vocabulary is not the model's: token {token} is {}, the model's is {}",
        quoted(.found), quoted(.expected)
    )]
    Vocabulary {
        /// The first id that differs.
        token: Token,
        /// What it is to the draft model.
        found: Option<String>,
        /// What it is to the model.
        expected: Option<String>,
    },
}

fn quoted(token: &Option<String>) -> String {
    match token {
        Some(token) => format!("{token:?}"),
        None => "none".to_owned(),
    }
}

/// Loads a draft model as the model itself was loaded. Where its context is the shorter one, it drafts no further.
pub(crate) fn load(
    directory: &Path,
    options: LoadOptions,
    model: &LoadedModel,
) -> Result<ModelDrafter, DraftModelError> {
    let source = ModelSource::Directory(directory.to_owned());
    let context = Config::from_json(&source.read("config.json")?)?.max_position_embeddings;
    let options = LoadOptions {
        max_model_len: Some(context.min(model.max_model_len)),
        ..options
    };
    let draft_model = LoadedModel::load(&source, options, &Device::Cpu)?;
    let difference = (draft_model.tokenizer).first_difference(&model.tokenizer);
    if let Some((token, [found, expected])) = difference {
        return Err(DraftModelError::Vocabulary {
            token,
            found,
            expected,
        });
    }
    Ok(ModelDrafter::new(draft_model.llama, BLOCK_SIZE))
}
