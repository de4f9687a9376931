//! What an answer and every chunk of it are wrapped in, in the words of their endpoint.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::admission::Frontend;
use crate::generation::Generation;
use crate::request::Finish;

/// Seconds since 1970, for `created`.
pub(super) fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// What the whole answer and every chunk of it repeat.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) endpoint: Endpoint,
    id: String,
    created: u64,
    model: String,
    /// As a signed number, which is what most clients send and can send again.
    seed: i64,
}

impl Envelope {
    pub(super) fn new(endpoint: Endpoint, frontend: &Frontend, generation: &Generation) -> Self {
        Self {
            endpoint,
            id: format!("{}-{}", endpoint.id_prefix(), Uuid::new_v4().simple()),
            created: unix_time(),
            model: frontend.model().names.first().cloned().unwrap_or_default(),
            seed: generation.seed as i64,
        }
    }

    /// An object of this answer.
    pub(super) fn around(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": concat!("foretoken-", env!("CARGO_PKG_VERSION")),
            "seed": self.seed,
            "choices": choices,
        })
    }
}

/// Which of the two shapes an answer has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    /// Choices hold `text`.
    Completions,
    /// Choices hold a `message`, chunks of them a `delta`.
    Chat,
}

impl Endpoint {
    fn id_prefix(self) -> &'static str {
        match self {
            Self::Completions => "cmpl",
            Self::Chat => "chatcmpl",
        }
    }

    pub(super) fn object(self) -> &'static str {
        match self {
            Self::Completions => "text_completion",
            Self::Chat => "chat.completion",
        }
    }

    /// The `object` of a chunk.
    pub(super) fn chunk_object(self) -> &'static str {
        match self {
            Self::Completions => "text_completion",
            Self::Chat => "chat.completion.chunk",
        }
    }

    pub(super) fn choice(self, text: String, finish: Option<&Finish>) -> Value {
        match self {
            Self::Completions => choice("text", json!(text), finish),
            Self::Chat => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                choice("message", message, finish)
            }
        }
    }

    /// The choice of the chunk before all others, if there is one.
    pub(super) fn opening(self) -> Option<Value> {
        match self {
            Self::Completions => None,
            Self::Chat => {
                let delta = json!({"role": "assistant", "content": ""});
                Some(choice("delta", delta, None))
            }
        }
    }

    /// The choice of a chunk that brings text.
    pub(super) fn piece(self, text: String) -> Value {
        match self {
            Self::Completions => choice("text", json!(text), None),
            Self::Chat => choice("delta", json!({"content": text}), None),
        }
    }

    /// The choice of the chunk after all text.
    pub(super) fn closing(self, finish: &Finish) -> Value {
        match self {
            Self::Completions => choice("text", json!(""), Some(finish)),
            Self::Chat => choice("delta", json!({}), Some(finish)),
        }
    }
}

fn choice(name: &str, content: Value, finish: Option<&Finish>) -> Value {
    let finish_reason = finish.map(|finish| match finish {
        Finish::Length => "length",
        Finish::Eos(_) | Finish::StopToken(_) | Finish::StopString(_) => "stop",
    });
    json!({"index": 0, name: content, "logprobs": null, "finish_reason": finish_reason})
}
