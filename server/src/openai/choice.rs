//! One of a request's choices, in the words of its endpoint.

use serde_json::{Value, json};

use super::envelope::Endpoint;
use crate::choices::Choices;
use crate::request::Finish;

/// What all objects about one choice repeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    endpoint: Endpoint,
    index: usize,
    /// As [`Envelope`](super::envelope::Envelope) writes it; that of a request which says the same by itself.
    seed: i64,
}

impl Choice {
    /// All of a request's, in order.
    pub(super) fn all(endpoint: Endpoint, choices: &Choices) -> impl Iterator<Item = Self> {
        (choices.seeds.iter().enumerate()).map(move |(index, &seed)| Self {
            endpoint,
            index,
            seed: seed as i64,
        })
    }

    /// All of it.
    pub(super) fn whole(self, text: &str, logprobs: Value, finish: Option<&Finish>) -> Value {
        match self.endpoint {
            Endpoint::Completions => self.object("text", json!(text), logprobs, finish),
            Endpoint::Chat => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                self.object("message", message, logprobs, finish)
            }
        }
    }

    /// The chunk before all others, if there is one; in completions, it brings the prompt that is asked for.
    pub(super) fn opening(self, echoed: &str) -> Option<Value> {
        match self.endpoint {
            Endpoint::Completions => (!echoed.is_empty()).then(|| self.piece(echoed, Value::Null)),
            Endpoint::Chat => {
                let delta = json!({"role": "assistant", "content": ""});
                Some(self.object("delta", delta, Value::Null, None))
            }
        }
    }

    /// A chunk that brings text.
    pub(super) fn piece(self, text: &str, logprobs: Value) -> Value {
        match self.endpoint {
            Endpoint::Completions => self.object("text", json!(text), logprobs, None),
            Endpoint::Chat => self.object("delta", json!({"content": text}), logprobs, None),
        }
    }

    /// The chunk after all text.
    pub(super) fn closing(self, finish: &Finish) -> Value {
        match self.endpoint {
            Endpoint::Completions => self.object("text", json!(""), Value::Null, Some(finish)),
            Endpoint::Chat => self.object("delta", json!({}), Value::Null, Some(finish)),
        }
    }

    fn object(self, name: &str, content: Value, logprobs: Value, finish: Option<&Finish>) -> Value {
        json!({
            "index": self.index,
            name: content,
            "logprobs": logprobs,
            "finish_reason": finish.map(Finish::reason),
            "seed": self.seed,
        })
    }
}
