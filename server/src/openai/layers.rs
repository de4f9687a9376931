//! What every request passes on its way in and out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use super::error::ApiError;
use crate::admission::Frontend;
use crate::api_key::ApiKey;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names every response, by the client's name for the request if it has one.
pub(super) async fn request_id(request: Request, next: Next) -> Response {
    let id = match request.headers().get(X_REQUEST_ID) {
        Some(id) => Ok(id.clone()),
        None => HeaderValue::try_from(Uuid::new_v4().to_string()),
    };
    let mut response = next.run(request).await;
    if let Ok(id) = id {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// Turns away who could not be admitted anyway, before any of the body is read.
pub(super) async fn has_room(
    State(frontend): State<Arc<Frontend>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    frontend.check_room()?;
    Ok(next.run(request).await)
}

/// Lets in who shows the key.
pub(super) async fn require_key(
    State(key): State<Arc<ApiKey>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    if key.accepts(authorization.map(HeaderValue::as_bytes)) {
        return Ok(next.run(request).await);
    }
    let message = match authorization {
        None => "no API key: send it as `Authorization: Bearer KEY`",
        Some(_) => "wrong API key, expected `Authorization: Bearer KEY`",
    };
    Err(ApiError::new(
        StatusCode::UNAUTHORIZED,
        "invalid_api_key",
        message,
    ))
}

/// Answers where no route leads.
pub(super) async fn not_found(method: Method, uri: Uri) -> ApiError {
    let message = format!("there is no {method} {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// Answers where a route leads, by another method.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
