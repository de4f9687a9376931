//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::generation::Interrupted;
use crate::refusal::Refusal;

/// Why a request gets no answer, or no more of it.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    /// For programs.
    code: &'static str,
    /// For people.
    message: String,
    /// The field at fault, by its name in the body.
    param: Option<String>,
}

impl ApiError {
    /// An error of no field in particular.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
        }
    }

    /// A field at fault: its name, in backticks, begins the message.
    pub(super) fn field(code: &'static str, name: String, problem: impl ToString) -> Self {
        let message = format!("`{name}`{}", problem.to_string());
        Self {
            param: Some(name),
            ..Self::new(StatusCode::BAD_REQUEST, code, message)
        }
    }

    /// A field whose value is not what it may be.
    pub(super) fn invalid(name: String, problem: impl ToString) -> Self {
        Self::field("invalid_value", name, format!(": {}", problem.to_string()))
    }

    /// The JSON that both a response and an event of a stream hold.
    pub(super) fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let hint = match self.status {
            StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "1")),
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            _ => None,
        };
        if let Some((name, value)) = hint {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let (status, code, param) = match refusal {
            Refusal::InvalidParameter { name, problem } => {
                return Self::invalid(name_in_body(name).to_owned(), problem);
            }
            Refusal::UnknownModel { .. } => {
                (StatusCode::NOT_FOUND, "model_not_found", Some("model"))
            }
            Refusal::EmptyPrompt => (StatusCode::BAD_REQUEST, "invalid_value", Some("prompt")),
            Refusal::ContextLengthExceeded { .. } => {
                (StatusCode::BAD_REQUEST, "context_length_exceeded", None)
            }
            Refusal::QueueFull { needed, all, .. } if needed > all => {
                (StatusCode::BAD_REQUEST, "queue_too_small", Some("n"))
            }
            Refusal::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full", None),
            Refusal::Draining => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down", None),
            Refusal::EngineDead => (StatusCode::SERVICE_UNAVAILABLE, "engine_failed", None),
            Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", None),
        };
        Self {
            param: param.map(str::to_owned),
            ..Self::new(status, code, message)
        }
    }
}

impl From<Interrupted> for ApiError {
    fn from(interrupted: Interrupted) -> Self {
        let (status, code) = match interrupted {
            Interrupted::EngineFailed => (StatusCode::INTERNAL_SERVER_ERROR, "engine_failed"),
            Interrupted::TimedOut(_) => (StatusCode::GATEWAY_TIMEOUT, "request_timeout"),
            Interrupted::ShutDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
        };
        Self::new(status, code, interrupted.to_string())
    }
}

/// What the body calls a field of [`RawRequest`](crate::raw_request::RawRequest).
fn name_in_body(name: &'static str) -> &'static str {
    match name {
        "drafter" => "speculative.drafter",
        "max_draft_tokens" => "speculative.n_max",
        "min_draft_tokens" => "speculative.n_min",
        "max_draft_depth" => "speculative.max_depth",
        same => same,
    }
}
