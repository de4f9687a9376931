//! `/v1/models`: what is served.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::envelope::unix_time;
use super::error::ApiError;
use crate::admission::Frontend;

/// Every name that requests may use.
pub(super) async fn list(State(frontend): State<Arc<Frontend>>) -> Json<Value> {
    let names = frontend.model().names.iter();
    let models: Vec<Value> = names.map(|name| model(&frontend, name)).collect();
    Json(json!({"object": "list", "data": models}))
}

/// One of them.
pub(super) async fn get(
    State(frontend): State<Arc<Frontend>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    frontend.check_model(Some(&name))?;
    Ok(Json(model(&frontend, &name)))
}

fn model(frontend: &Frontend, name: &str) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": unix_time(),
        "owned_by": "foretoken",
        "max_model_len": frontend.limits().max_model_len,
    })
}
