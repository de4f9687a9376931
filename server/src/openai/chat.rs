//! `/v1/chat/completions`: the assistant answers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use foretoken_model::chat_template::Message;
use serde_json::Value;

use super::answer::answer;
use super::envelope::Endpoint;
use super::error::ApiError;
use super::fields::Fields;
use super::leftover::Leftover;
use super::options::Options;
use crate::admission::Frontend;
use crate::raw_request::Prompt;
use crate::validation::MAX_LOGPROBS;

/// Continues a chat.
pub(super) async fn chat_completions(
    State(frontend): State<Arc<Frontend>>,
    mut fields: Fields,
) -> Result<Response, ApiError> {
    let prompt = Prompt::Chat(messages(&mut fields)?);
    let logprobs = logprobs(&mut fields)?;
    let options = Options::read(fields, prompt, logprobs)?;
    answer(&frontend, Endpoint::Chat, options).await
}

/// How many of the likeliest tokens are told beside each token, if any is told at all.
fn logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let asked = fields.take("logprobs")?.unwrap_or(false);
    let problem = match fields.take("top_logprobs")?.unwrap_or(0) {
        num_top if asked && num_top <= MAX_LOGPROBS => return Ok(Some(num_top)),
        0 => return Ok(None),
        num_top if asked => format!("is {num_top}, expected 0 to {MAX_LOGPROBS}"),
        num_top => format!("is {num_top}, but is for `logprobs: true` only"),
    };
    Err(fields.invalid("top_logprobs", problem))
}

/// Takes the chat out of a body.
pub(super) fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let messages: Vec<Value> = fields.require("messages")?;
    if messages.is_empty() {
        return Err(fields.invalid("messages", "holds no message"));
    }
    (messages.into_iter().enumerate())
        .map(|(index, value)| message(Fields::of(&format!("messages[{index}]"), value)?))
        .collect()
}

fn message(mut fields: Fields) -> Result<Message, ApiError> {
    let role = match fields.require::<String>("role")?.as_str() {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => {
            let problem =
                format!("is `{other}`, expected `system`, `developer`, `user` or `assistant`");
            return Err(fields.invalid("role", problem));
        }
    };
    let content = match fields.take("content")? {
        // Clients send back answers that had no text.
        None if role == "assistant" => String::new(),
        None => fields.require("content")?,
        Some(Value::String(text)) => text,
        // Line by line, as vLLM and llama.cpp join them.
        Some(Value::Array(parts)) => texts_of(&fields, parts)?.join("\n"),
        Some(_) => return Err(fields.invalid("content", "is neither a string nor an array")),
    };
    let reasoning_content = match role {
        "assistant" => fields.take("reasoning_content")?,
        _ => None,
    };
    fields.finish(Leftover::in_message)?;
    Ok(Message {
        reasoning_content,
        ..Message::new(role, content)
    })
}

/// The texts of `content`'s parts.
pub(super) fn texts_of(owner: &Fields, parts: Vec<Value>) -> Result<Vec<String>, ApiError> {
    (parts.into_iter().enumerate())
        .map(|(index, part)| {
            let path = owner.name(&format!("content[{index}]"));
            let mut part = Fields::of(&path, part)?;
            let kind: String = part.require("type")?;
            if kind != "text" {
                return Err(part.invalid("type", format!("is `{kind}`, only `text` is supported")));
            }
            let text = part.require("text")?;
            part.finish(Leftover::in_part)?;
            Ok(text)
        })
        .collect()
}
