//! Why a request does not get in.

use thiserror::Error;

/// Why a request does not get in. Each door maps these to its own codes in one place.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Refusal {
    /// No such model here.
    #[error("the model `{requested}` does not exist; this server serves `{served}`")]
    UnknownModel {
        /// As the client named it.
        requested: String,
        /// The name that would do.
        served: String,
    },
    /// Nothing to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// Prompt and output do not fit the context.
    #[error(
        "this model's maximum context length is {max_model_len} tokens, but the request needs {} \
         ({num_prompt_tokens} in the prompt, {max_tokens} for the output)",
        num_prompt_tokens + max_tokens
    )]
    ContextLengthExceeded {
        /// Tokens of the prompt.
        num_prompt_tokens: usize,
        /// Tokens asked for, at least 1.
        max_tokens: usize,
        /// Room for both.
        max_model_len: usize,
    },
    /// A field's value is outside what it may be.
    #[error("`{name}`: {problem}")]
    InvalidParameter {
        /// The field, by its name in [`RawRequest`](crate::raw_request::RawRequest), which both doors share.
        name: &'static str,
        /// What it holds and what was expected.
        problem: String,
    },
    /// The queue has too few places for the request: at the moment, or at all.
    #[error("{}", match needed > all {
        false => format!(
            "the queue is full: {free} of {all} places are free, and the request needs {needed}"
        ),
        true => format!(
            "the request needs {needed} places, one for each answer, but there are {all} for all that runs or waits: \
             it can never be admitted"
        ),
    })]
    QueueFull {
        /// Places that the request needs, one for each answer.
        needed: usize,
        /// Places that are free.
        free: usize,
        /// Places that there are, for running and waiting requests together.
        all: usize,
    },
    /// The server finishes what it has and takes nothing new.
    #[error("the server is shutting down")]
    Draining,
    /// The engine thread has died.
    #[error("the engine has failed")]
    EngineDead,
    /// This request could not be read, by a fault of the server's own; others can.
    #[error("the request could not be processed")]
    Internal,
}

impl Refusal {
    /// Its kind in one word, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown_model",
            Self::EmptyPrompt => "empty_prompt",
            Self::ContextLengthExceeded { .. } => "context_length_exceeded",
            Self::InvalidParameter { .. } => "invalid_parameter",
            Self::QueueFull { needed, all, .. } if needed > all => "queue_too_small",
            Self::QueueFull { .. } => "queue_full",
            Self::Draining => "draining",
            Self::EngineDead => "engine_dead",
            Self::Internal => "internal",
        }
    }

    /// The field `name` is not what it may be.
    pub(crate) fn invalid(name: &'static str, problem: impl ToString) -> Self {
        Self::InvalidParameter {
            name,
            problem: problem.to_string(),
        }
    }
}
