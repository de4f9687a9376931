//! From the bytes of a request to its fields.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::fields::Fields;
use crate::body_budget::{BODY_PATIENCE, BodyBudget, MAX_REQUEST_BYTES};
use crate::refusal::Refusal;

/// How long a refused request's body is let pass by.
const SKIPPING: Duration = Duration::from_millis(500);

/// Bodies that take longer to parse than other clients should wait for.
const LARGE: usize = 64 << 10;

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        // A body that states its size is refused before any of it is read.
        if request.body().size_hint().lower() > MAX_REQUEST_BYTES as u64 {
            return Err(too_large());
        }
        let budget = request.extensions().get().cloned().unwrap_or_default();
        let body = read(request.into_body(), &budget);
        let body = tokio::time::timeout(BODY_PATIENCE, body)
            .await
            .map_err(|_| too_slow())??;
        if body.bytes.len() < LARGE {
            return parse(body);
        }
        tokio::task::spawn_blocking(|| parse(body))
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "parsing failed");
                Err(Refusal::Internal.into())
            })
    }
}

/// A body and its share of the budget.
#[derive(Debug, Default)]
struct Unread {
    bytes: Vec<u8>,
    held: Option<OwnedSemaphorePermit>,
}

async fn read(body: Body, budget: &BodyBudget) -> Result<Unread, ApiError> {
    let mut body = body.into_data_stream();
    let mut unread = Unread::default();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "unreadable_body",
                error.to_string(),
            )
        })?;
        if unread.bytes.len() + chunk.len() > MAX_REQUEST_BYTES {
            return Err(too_large());
        }
        let permit = budget.take(chunk.len()).ok_or_else(too_many)?;
        match &mut unread.held {
            Some(held) => held.merge(permit),
            None => unread.held = Some(permit),
        }
        unread.bytes.extend_from_slice(&chunk);
    }
    Ok(unread)
}

/// Lets a refused request's body pass by, kept nowhere: a connection that is closed on a client who still writes takes
/// the answer with it. Who is slow, or has more to say than anybody may, is not waited for.
pub(super) async fn skip(body: Body) {
    let mut body = body.into_data_stream();
    let mut num_bytes = 0;
    let all = async {
        while let Some(Ok(chunk)) = body.next().await {
            num_bytes += chunk.len();
            if num_bytes > MAX_REQUEST_BYTES {
                break;
            }
        }
    };
    _ = tokio::time::timeout(SKIPPING, all).await;
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
    let message = format!("the body is larger than {MAX_REQUEST_BYTES} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn too_slow() -> ApiError {
    let message = format!(
        "the body did not arrive within {} s",
        BODY_PATIENCE.as_secs()
    );
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
}

fn too_many() -> ApiError {
    let message = "too many bytes of other requests are waiting to be read";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_bytes", message)
}

fn parse(body: Unread) -> Result<Fields, ApiError> {
    let fields: Map<String, Value> = serde_json::from_slice(&body.bytes).map_err(|error| {
        let message = format!("the body is not a JSON object: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    })?;
    Ok(Fields::of_body(fields, body.held))
}
