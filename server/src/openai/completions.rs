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
    let prompt = prompt(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    let echo = fields.take("echo")?.unwrap_or(false);
    if echo && logprobs.is_some() {
        let problem = "is true beside `logprobs`, but the prompt's log probabilities are not told";
        return Err(fields.invalid("echo", problem));
    }
    let options = Options {
        echo,
        ..Options::read(fields, prompt, logprobs)?
    };
    answer(&frontend, Endpoint::Completions, options).await
}

/// How many of the likeliest tokens are told beside each token; 0 tells the token's own log probability.
fn logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    match fields.take("logprobs")? {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(num_top) => read(fields.name("logprobs"), num_top).map(Some),
    }
}

/// A string, token ids, or an array of one such: several prompts would need several answers.
fn prompt(fields: &mut Fields) -> Result<Prompt, ApiError> {
    let mut items = match fields.require("prompt")? {
        Value::String(text) => return Ok(Prompt::Text(text)),
        Value::Array(items) => items,
        _ => return Err(fields.invalid("prompt", "is neither a string nor an array")),
    };
    let tokens = |value| read(fields.name("prompt"), value).map(Prompt::Tokens);
    if !matches!(items.first(), Some(Value::String(_) | Value::Array(_))) {
        return tokens(Value::Array(items));
    }
    match (items.pop(), items.len()) {
        (Some(Value::String(text)), 0) => Ok(Prompt::Text(text)),
        (Some(ids), 0) => tokens(ids),
        (_, others) => {
            let problem = format!("holds {} prompts; send one per request", others + 1);
            Err(fields.invalid("prompt", problem))
        }
    }
}
