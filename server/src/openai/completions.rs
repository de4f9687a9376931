//! `/v1/completions`: the text goes on. Unlike OpenAI's, an output without `max_tokens` may fill the context.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::answer::answer;
use super::envelope::Endpoint;
use super::error::ApiError;
use super::fields::{Fields, read};
use super::options::Options;
use crate::admission::Frontend;
use crate::raw_request::Prompt;

/// Continues a prompt.
pub(super) async fn completions(
    State(frontend): State<Arc<Frontend>>,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    let mut prompts = prompts(&mut fields)?.into_iter();
    let prompt = prompts.next().unwrap_or_default();
    let logprobs = logprobs(&mut fields)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    if echo && logprobs.is_some() {
        let problem = "is true beside `logprobs`, but the prompt's log probabilities are not told";
        return Err(fields.invalid("echo", problem));
    }
    let mut options = Options {
        echo,
        ..Options::read(fields, prompt, logprobs)?
    };
    options.request.more_prompts = prompts.collect();
    answer(&frontend, Endpoint::Completions, options).await
}

/// How many of the likeliest tokens are told beside each token; 0 tells the token's own log probability.
fn logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    match fields.take("logprobs")? {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(num_top) => read(fields.name("logprobs"), num_top).map(Some),
    }
}

/// A string, token ids, or an array of such, each of which gets its own answers.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let items = match fields.require("prompt")? {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(items) => items,
        _ => return Err(fields.invalid("prompt", "is neither a string nor an array")),
    };
    let tokens = |value| read(fields.name("prompt"), value).map(Prompt::Tokens);
    if !matches!(items.first(), Some(Value::String(_) | Value::Array(_))) {
        return Ok(vec![tokens(Value::Array(items))?]);
    }
    let prompt = |item| match item {
        Value::String(text) => Ok(Prompt::Text(text)),
        ids => tokens(ids),
    };
    items.into_iter().map(prompt).collect()
}
