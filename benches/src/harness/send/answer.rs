//! The one shape that every answer has, whichever wire it came by.

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a server sends back, message by message. The end of the stream is the end of the answer: one that breaks off
/// ends with a failure.
pub type Answer = BoxStream<'static, Result<Piece, Failure>>;

/// What one message brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// May be empty.
    pub text: String,
    /// None if the server does not say.
    pub num_tokens: Option<usize>,
    /// In the last piece that brings anything.
    pub usage: Option<Usage>,
}

/// What the whole answer took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub num_prompt_tokens: usize,
    /// Tokens of the answer.
    pub num_output_tokens: usize,
    /// None if the server does not say.
    pub drafted: Option<Drafted>,
}

/// What drafting brought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drafted {
    /// Verifies that held at least one draft token; 0 if the server does not say.
    pub num_drafts: usize,
    /// Draft tokens verified.
    pub num_draft_tokens: usize,
    /// Draft tokens kept.
    pub num_accepted_tokens: usize,
    /// Entry i counts the verifies that kept the draft token at depth i + 1; empty if the server does not say.
    pub accepted_per_pos: Vec<usize>,
}

/// Why there is no answer, or no whole one.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{kind}: {message}", kind = kind.name())]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// In the server's words, where it had any.
    pub message: String,
}

/// What happened to a request that was not answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailureKind {
    /// The queue is full: 429, RESOURCE_EXHAUSTED.
    Refused,
    /// The request is at fault: any other 4xx, INVALID_ARGUMENT and its like.
    Rejected,
    /// The server is at fault: 5xx, INTERNAL and its like.
    ServerError,
    /// It took too long.
    Timeout,
    /// No connection, or one that broke.
    Disconnected,
    /// The answer makes no sense.
    Malformed,
}

impl FailureKind {
    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::ServerError => "server error",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
            Self::Malformed => "malformed answer",
        }
    }
}

impl Failure {
    /// A failure in words.
    pub fn new(kind: FailureKind, message: impl ToString) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }
}
