//! From an admitted request to its answer, whole or streamed, in the words of its endpoint.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::envelope::{Endpoint, Envelope};
use super::error::ApiError;
use super::options::Options;
use super::stream;
use super::usage::Cost;
use crate::admission::Frontend;

/// Answers a request.
pub(super) async fn answer(
    frontend: &Arc<Frontend>,
    endpoint: Endpoint,
    options: Options,
) -> Result<Response, ApiError> {
    let generation = frontend.admit(options.request).await?;
    let envelope = Envelope::new(endpoint, frontend, &generation);
    if options.stream {
        return Ok(stream::respond(generation, envelope, options.include_usage).into_response());
    }
    let num_prompt_tokens = generation.prompt.len();
    let whole = generation.collect().await?;
    let cost = Cost {
        num_prompt_tokens,
        num_tokens: whole.tokens.len(),
        stats: &whole.stats,
    };
    let choice = endpoint.choice(whole.text, whole.finish.as_ref());
    let mut body = envelope.around(endpoint.object(), json!([choice]));
    body["usage"] = json!(cost.usage());
    body["timings"] = json!(cost.timings());
    Ok(Json(body).into_response())
}
