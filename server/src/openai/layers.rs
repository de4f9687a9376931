//! What every request passes on its way in and out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tracing::Instrument;

use super::body::skip;
use super::error::ApiError;
use crate::admission::Frontend;
use crate::api_key::ApiKey;
use crate::request_id;
use crate::request_span::request_span;

const X_REQUEST_ID: HeaderName = HeaderName::from_static(request_id::X_REQUEST_ID);

/// What a request is called.
#[derive(Clone, Debug)]
pub(super) struct RequestId(String);

/// Names every response, by the client's name for the request if it has one.
pub(super) async fn request_id(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(X_REQUEST_ID);
    let id = match request_id::request_id(given.map_or(&[], HeaderValue::as_bytes)) {
        Ok(id) => id,
        Err(problem) => {
            return ApiError::invalid(X_REQUEST_ID.to_string(), problem).into_response();
        }
    };
    let value = HeaderValue::from_str(&id);
    request.extensions_mut().insert(RequestId(id));
    let mut response = next.run(request).await;
    if let Ok(value) = value {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// Puts a request into a span of its own.
pub(super) async fn trace(
    State(frontend): State<Arc<Frontend>>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let span = request_span(&id, frontend.model().name(), request.headers());
    next.run(request).instrument(span).await
}

/// Turns away who could not be admitted anyway, before any of the body is kept.
pub(super) async fn has_room(
    State(frontend): State<Arc<Frontend>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Err(refusal) = frontend.check_room() {
        skip(request.into_body()).await;
        return Err(refusal.into());
    }
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

/// Lets web pages of these origins ask from a browser, and read what the headers say. No cookies: there are none.
pub(super) fn cross_origin(origins: &[HeaderValue]) -> CorsLayer {
    let origins = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // A wildcard would not name `authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([X_REQUEST_ID, header::RETRY_AFTER])
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
