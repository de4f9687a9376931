//! From an admitted request to its answer, whole or streamed, in the words of its endpoint.

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::choice::Choice;
use super::envelope::{Endpoint, Envelope};
use super::error::ApiError;
use super::logprobs::LogprobsWriter;
use super::options::Options;
use super::stream::{self, Writer};
use super::tokenize::blocking;
use super::usage::Cost;
use crate::admission::Frontend;
use crate::choices::Choices;
use crate::raw_request::{Prompt, RawRequest};

/// Answers a request.
pub(super) async fn answer(
    frontend: &Arc<Frontend>,
    endpoint: Endpoint,
    options: Options,
) -> Result<Response, ApiError> {
    let echoed = options.echo.then(|| options.request.clone());
    let num_prompts = 1 + options.request.more_prompts.len();
    let choices = frontend.admit_choices(options.request, options.n).await?;
    let choices = Choices::new(choices, num_prompts);
    // Behind admission, so that what is echoed has been found to fit.
    let echoed = match echoed {
        Some(request) => prompt_texts(frontend, request).await?,
        None => Vec::new(),
    };
    let envelope = Envelope::new(endpoint, frontend, &choices);
    if options.stream {
        let tokenizer = &frontend.model().tokenizer;
        let writer = Writer::new(envelope, &choices, tokenizer, &echoed, options.usage);
        return Ok(stream::respond(choices, writer).into_response());
    }
    let mut cost = Cost::new(choices.prompts.iter().map(Vec::len));
    let prompt_of = |(index, kind)| (choices.prompt_of(index), kind);
    let kinds: Vec<(usize, Choice)> = (Choice::all(endpoint, &choices).enumerate())
        .map(prompt_of)
        .collect();
    let mut objects = Vec::new();
    for ((prompt, kind), mut whole) in kinds.into_iter().zip(choices.collect().await?) {
        cost.add(prompt, whole.tokens.len(), &whole.stats);
        let logprobs = LogprobsWriter::new(endpoint, &frontend.model().tokenizer).write(&mut whole);
        let echoed = echoed.get(prompt).map_or("", String::as_str);
        whole.text.insert_str(0, echoed);
        objects.push(kind.whole(&whole.text, logprobs, whole.finish.as_ref()));
    }
    let mut body = envelope.around(endpoint.object(), Value::Array(objects));
    body["usage"] = json!(cost.usage());
    body["timings"] = json!(cost.timings());
    Ok(Json(body).into_response())
}

/// The prompts as the client wrote them, or as their tokens read.
async fn prompt_texts(
    frontend: &Arc<Frontend>,
    request: RawRequest,
) -> Result<Vec<String>, ApiError> {
    let tokenizer = Arc::clone(&frontend.model().tokenizer);
    let skip_special_tokens = request.skip_special_tokens.unwrap_or(true);
    let text = move |prompt| -> Result<String, ApiError> {
        match prompt {
            Prompt::Text(text) => Ok(text),
            Prompt::Tokens(tokens) => Ok(tokenizer.decode(&tokens, skip_special_tokens)?),
            // Chats have no echo.
            Prompt::Chat(_) => Ok(String::new()),
        }
    };
    let prompts = [request.prompt].into_iter().chain(request.more_prompts);
    blocking(move || prompts.map(text).collect()).await
}
