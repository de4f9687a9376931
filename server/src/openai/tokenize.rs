//! `/tokenize` and `/detokenize`, with vLLM's fields.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use foretoken_model::{Token, TokenizerError};
use serde_json::{Value, json};

use super::chat::messages;
use super::error::ApiError;
use super::fields::Fields;
use super::leftover::Leftover;
use crate::admission::Frontend;
use crate::raw_request::Prompt;

/// The tokens of a text, or of a chat through the model's template.
pub(super) async fn tokenize(
    State(frontend): State<Arc<Frontend>>,
    mut fields: Fields,
) -> Result<Json<Value>, ApiError> {
    frontend.check_model(fields.take::<String>("model")?.as_deref())?;
    if fields.has("messages") && fields.has("prompt") {
        return Err(fields.invalid(
            "messages",
            "is given beside `prompt`, only one of them may be",
        ));
    }
    let prompt = if fields.has("messages") {
        Prompt::Chat(messages(&mut fields)?)
    } else {
        Prompt::Text(fields.require("prompt")?)
    };
    let add_special_tokens = fields.take("add_special_tokens")?;
    if matches!((&prompt, add_special_tokens), (Prompt::Chat(_), Some(true))) {
        let problem = "is true, but the chat template writes the special tokens itself";
        return Err(fields.invalid("add_special_tokens", problem));
    }
    fields.finish(Leftover::in_body)?;
    let max_model_len = frontend.limits().max_model_len;
    let tokens = blocking(move || match prompt {
        Prompt::Text(text) if add_special_tokens == Some(false) => {
            Ok(frontend.model().tokenizer.encode(&text, false)?)
        }
        prompt => Ok(frontend.tokenize(&prompt)?),
    })
    .await?;
    Ok(Json(
        json!({"count": tokens.len(), "max_model_len": max_model_len, "tokens": tokens}),
    ))
}

/// The text of tokens, special ones included.
pub(super) async fn detokenize(
    State(frontend): State<Arc<Frontend>>,
    mut fields: Fields,
) -> Result<Json<Value>, ApiError> {
    frontend.check_model(fields.take::<String>("model")?.as_deref())?;
    let tokens: Vec<Token> = fields.require("tokens")?;
    fields.finish(Leftover::in_body)?;
    for &token in &tokens {
        frontend.check_token("tokens", token)?;
    }
    let prompt = blocking(move || Ok(frontend.model().tokenizer.decode(&tokens, false)?)).await?;
    Ok(Json(json!({"prompt": prompt})))
}

/// Long texts take milliseconds, which would hold up the other clients.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "tokenizer_failed",
            error.to_string(),
        )),
    }
}

impl From<TokenizerError> for ApiError {
    fn from(error: TokenizerError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", error.to_string())
    }
}
