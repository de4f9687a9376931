//! The HTTP door: OpenAI's API, strict. What would change an answer is obeyed or refused by name, never skipped.

mod answer;
mod body;
mod chat;
mod choice;
mod completions;
mod envelope;
mod error;
mod fields;
mod health;
mod layers;
mod leftover;
mod logprobs;
mod models;
mod options;
mod prediction;
mod stream;
mod tokenize;
mod usage;

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use tokio::net::TcpListener;

use crate::admission::Frontend;
use crate::api_key::ApiKey;
use crate::body_budget::BodyBudget;
use crate::connections::{self, Protocol, Terms};

/// Serves until `shutdown` resolves, then finishes what runs.
pub async fn serve(
    frontend: Arc<Frontend>,
    api_key: Option<ApiKey>,
    allowed_origins: &[HeaderValue],
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let terms = Terms::new(frontend.limits().max_num_requests);
    let router = router(frontend, api_key, allowed_origins);
    connections::serve(listener, router, Protocol::Http1, terms, shutdown).await;
}

/// All routes. With a key, all but those for probes ask for it.
fn router(
    frontend: Arc<Frontend>,
    api_key: Option<ApiKey>,
    allowed_origins: &[HeaderValue],
) -> Router {
    let has_room = middleware::from_fn_with_state(Arc::clone(&frontend), layers::has_room);
    let trace = middleware::from_fn_with_state(Arc::clone(&frontend), layers::trace);
    let mut guarded = Router::new()
        .route("/v1/completions", post(completions::completions))
        .route("/v1/chat/completions", post(chat::chat_completions))
        .route_layer(has_room)
        .route_layer(trace)
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::get))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize));
    if let Some(key) = api_key {
        let require_key = middleware::from_fn_with_state(Arc::new(key), layers::require_key);
        guarded = guarded.route_layer(require_key);
    }
    let router = Router::new()
        .route("/health", get(health::health))
        .route("/version", get(health::version))
        .route("/metrics", get(health::metrics))
        .merge(guarded)
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(Extension(BodyBudget::default()))
        .layer(middleware::from_fn(layers::request_id))
        .with_state(frontend);
    match allowed_origins {
        [] => router,
        // Outermost: a browser asks beforehand, without the key.
        origins => router.layer(layers::cross_origin(origins)),
    }
}
