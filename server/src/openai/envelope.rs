//! What an answer and every chunk of it are wrapped in, in the words of their endpoint.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::admission::Frontend;
use crate::choices::Choices;

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
    /// Of the first choice; as a signed number, which is what most clients send and can send again.
    seed: i64,
}

impl Envelope {
    pub(super) fn new(endpoint: Endpoint, frontend: &Frontend, choices: &Choices) -> Self {
        Self {
            endpoint,
            id: format!("{}-{}", endpoint.id_prefix(), Uuid::new_v4().simple()),
            created: unix_time(),
            model: frontend.model().name().to_owned(),
            seed: choices.seeds.first().copied().unwrap_or_default() as i64,
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
}
