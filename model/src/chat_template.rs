//! A model's chat template, rendered as `transformers` renders it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One turn of a chat.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`; templates may know others.
    pub role: String,
    /// The turn's text.
    pub content: String,
}

/// A compiled chat template with the special tokens that it may name.
#[derive(Debug)]
pub struct ChatTemplate {}

/// Why a template does not compile or a chat does not render.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// `tokenizer_config.json` does not hold what it should.
    #[error("tokenizer_config.json: {0}")]
    Config(String),
    /// The template's own `raise_exception`, or a mistake in it.
    #[error("chat template: {0}")]
    Render(String),
}

impl ChatTemplate {
    /// Reads `chat_template` and the special tokens out of the contents of a `tokenizer_config.json`.
    /// None if it holds no template.
    pub fn from_tokenizer_config(_json: &[u8]) -> Result<Option<Self>, TemplateError> {
        Ok(None)
    }

    /// The text that asks the model for the next turn.
    pub fn render(&self, _messages: &[Message]) -> Result<String, TemplateError> {
        Err(TemplateError::Render(String::new()))
    }
}
