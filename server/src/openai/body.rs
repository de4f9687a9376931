//! From the bytes of a request to its fields.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::fields::Fields;

/// Bytes that a body may have.
pub(super) const LIMIT: usize = 16 << 20;

/// How long a client may take to send its body.
const PATIENCE: Duration = Duration::from_secs(60);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        // A body that states its size is refused before any of it is read.
        if request.body().size_hint().lower() > LIMIT as u64 {
            return Err(too_large());
        }
        let body = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state))
            .await
            .map_err(|_| too_slow())?
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                status => ApiError::new(status, "unreadable_body", rejection.body_text()),
            })?;
        parse(&body)
    }
}

/// Only JSON that says so: a web page may send any other type across origins, past a server without a key.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let essence = given.split(|&byte| byte == b';').next().unwrap_or_default();
    if essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
    {
        return Ok(());
    }
    let message = format!(
        "the content type must be `application/json`, it is `{}`",
        String::from_utf8_lossy(given)
    );
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        message,
    ))
}

fn too_large() -> ApiError {
    let message = format!("the body is larger than {LIMIT} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn too_slow() -> ApiError {
    let message = format!("the body did not arrive within {} s", PATIENCE.as_secs());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
}

fn parse(body: &[u8]) -> Result<Fields, ApiError> {
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not a JSON object: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    })?;
    Ok(Fields::of_body(fields))
}
