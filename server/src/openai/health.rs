//! `/health`, `/version` and `/metrics`, for probes: no key needed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::error::ApiError;
use crate::admission::Frontend;
use crate::refusal::Refusal;

/// Fails while no request would be admitted, because the engine is dead or the server is draining.
pub(super) async fn health(State(frontend): State<Arc<Frontend>>) -> Result<Json<Value>, ApiError> {
    if !frontend.is_alive() {
        return Err(Refusal::EngineDead.into());
    }
    if !frontend.is_ready() {
        return Err(Refusal::Draining.into());
    }
    Ok(Json(json!({"status": "ok"})))
}

/// The server's version.
pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

/// What the server counts of itself, in Prometheus' text format.
pub(super) async fn metrics(State(frontend): State<Arc<Frontend>>) -> impl IntoResponse {
    let text_format = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, text_format)],
        frontend.metrics().render(),
    )
}
