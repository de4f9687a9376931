//! Log probabilities in the two shapes that OpenAI gives them, in step with the text.

use std::sync::Arc;

use foretoken_model::{Logprobs, Token, Tokenizer};
use serde_json::{Map, Value, json};

use super::envelope::Endpoint;
use crate::generation::Chunk;

/// What a token has whose probability is 0 or not a number: JSON knows no infinity. OpenAI's own value.
const IMPOSSIBLE: f32 = -9999.0;

/// Writes one choice's log probabilities: those of a token go out with the last of its text.
#[derive(Debug)]
pub(super) struct LogprobsWriter {
    endpoint: Endpoint,
    tokenizer: Arc<Tokenizer>,
    /// Of tokens that are not out yet, in order.
    held: Vec<Told>,
}

/// A token of the output, and what is told about it.
#[derive(Debug)]
struct Told {
    token: Token,
    /// Characters of the answer in front of it.
    offset: usize,
    logprobs: Box<Logprobs>,
}

impl LogprobsWriter {
    pub(super) fn new(endpoint: Endpoint, tokenizer: &Arc<Tokenizer>) -> Self {
        Self {
            endpoint,
            tokenizer: Arc::clone(tokenizer),
            held: Vec::new(),
        }
    }

    /// The field `logprobs` that goes beside a chunk's text: null if no token is out with it, or nobody asked.
    pub(super) fn write(&mut self, chunk: &mut Chunk) -> Value {
        let mut num_out = 0;
        for (emitted, place) in chunk.tokens.iter_mut().zip(&chunk.places) {
            self.held
                .extend(emitted.logprobs.take().map(|logprobs| Told {
                    token: emitted.token,
                    offset: place.offset,
                    logprobs,
                }));
            if place.is_out {
                num_out = self.held.len();
            }
        }
        if chunk.finish.is_some() {
            num_out = self.held.len();
        }
        if num_out == 0 {
            return Value::Null;
        }
        let out: Vec<Told> = self.held.drain(..num_out).collect();
        match self.endpoint {
            Endpoint::Chat => self.chat(&out),
            Endpoint::Completions => self.completions(&out),
        }
    }

    fn chat(&self, out: &[Told]) -> Value {
        let entry = |token, logprob: f32| {
            let bytes = self.tokenizer.token_bytes(token);
            json!({
                "token": self.name(&bytes),
                "logprob": logprob.max(IMPOSSIBLE),
                "bytes": bytes,
            })
        };
        let content = out.iter().map(|told| {
            let top = told.logprobs.top.iter();
            let top: Vec<Value> = top.map(|&(token, logprob)| entry(token, logprob)).collect();
            let mut content = entry(told.token, told.logprobs.chosen);
            content["top_logprobs"] = json!(top);
            content
        });
        json!({"content": content.collect::<Vec<_>>(), "refusal": null})
    }

    fn completions(&self, out: &[Told]) -> Value {
        let name = |token| self.name(&self.tokenizer.token_bytes(token));
        let top = |told: &Told| {
            // The token itself is always there. Where two tokens have one name, the likelier counts.
            let own = (told.token, told.logprobs.chosen);
            let mut top = Map::new();
            for (token, logprob) in told.logprobs.top.iter().copied().chain([own]) {
                let entry = top.entry(name(token));
                entry.or_insert_with(|| json!(logprob.max(IMPOSSIBLE)));
            }
            top
        };
        let column = |value: &dyn Fn(&Told) -> Value| out.iter().map(value).collect::<Vec<Value>>();
        json!({
            "tokens": column(&|told| json!(name(told.token))),
            "token_logprobs": column(&|told| json!(told.logprobs.chosen.max(IMPOSSIBLE))),
            "top_logprobs": column(&|told| json!(top(told))),
            "text_offset": column(&|told| json!(told.offset)),
        })
    }

    /// A token's text; of one that is not UTF-8 by itself, its bytes as the endpoint writes them.
    fn name(&self, bytes: &[u8]) -> String {
        if let Ok(text) = str::from_utf8(bytes) {
            return text.to_owned();
        }
        let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        match self.endpoint {
            Endpoint::Chat => escaped,
            Endpoint::Completions => format!("bytes:{escaped}"),
        }
    }
}
