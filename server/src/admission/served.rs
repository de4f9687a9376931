//! What is served, and what is granted.

use std::sync::Arc;
use std::time::Duration;

use foretoken_model::chat_template::ChatTemplate;
use foretoken_model::{SamplingParams, Tokenizer};

use crate::request::Speculation;

/// The model as the edge sees it.
#[derive(Debug)]
pub struct ServedModel {
    /// Names that requests may use; the first is shown.
    pub names: Vec<String>,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// None if the model is not a chat model.
    pub chat_template: Option<ChatTemplate>,
    /// Sampling where a request states none; its seed is not used.
    pub defaults: SamplingParams,
    /// Ids from here on do not exist.
    pub vocab_size: usize,
}

impl ServedModel {
    /// The name that is shown.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// What the server grants a request.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tokens of prompt and output together.
    pub max_model_len: usize,
    /// Requests that may run or wait.
    pub max_num_requests: usize,
    /// How long a request may wait and run.
    pub request_timeout: Option<Duration>,
    /// Drafting where a request states none.
    pub speculation: Speculation,
}
