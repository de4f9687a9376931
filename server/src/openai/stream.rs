//! An answer as server-sent events, one or more per engine step.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::error::ApiError;
use super::usage::Cost;
use crate::generation::{Chunk, Generation, Interrupted};
use crate::request::{Finish, Stats};

/// Streams `generation`, which ends when the client leaves, because the stream owns it.
pub(super) fn respond(
    generation: Generation,
    envelope: Envelope,
    include_usage: bool,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let writer = Writer {
        num_prompt_tokens: generation.prompt.len(),
        num_tokens: 0,
        opening: envelope.endpoint.opening(),
        envelope,
        include_usage,
    };
    let events = stream::unfold((generation, writer), |(mut generation, mut writer)| async {
        let chunk = generation.next().await?;
        Some((writer.write(chunk), (generation, writer)))
    });
    let events = events.flat_map(|data| stream::iter(data.into_iter().map(event)));
    // Comments keep idle connections of waiting requests open.
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn event(data: String) -> Result<Event, Infallible> {
    Ok(Event::default().data(data))
}

/// Turns chunks into the data of events.
struct Writer {
    envelope: Envelope,
    /// Goes before the first chunk.
    opening: Option<Value>,
    include_usage: bool,
    num_prompt_tokens: usize,
    /// Tokens of the output so far.
    num_tokens: usize,
}

impl Writer {
    fn write(&mut self, chunk: Result<Chunk, Interrupted>) -> Vec<String> {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // No `[DONE]`: what came is not the whole answer.
            Err(interrupted) => return vec![ApiError::from(interrupted).body().to_string()],
        };
        self.num_tokens += chunk.tokens.len();
        let piece = (!chunk.text.is_empty()).then(|| self.envelope.endpoint.piece(chunk.text));
        let choices = self.opening.take().into_iter().chain(piece);
        let mut data: Vec<String> = choices
            .map(|choice| self.object(json!([choice])).to_string())
            .collect();
        if let Some(finish) = &chunk.finish {
            let last = self.closing(finish, &chunk.stats);
            data.extend(last.iter().map(Value::to_string));
            data.push("[DONE]".to_owned());
        }
        data
    }

    /// The last objects; the very last one carries the timings.
    fn closing(&self, finish: &Finish, stats: &Stats) -> Vec<Value> {
        let cost = Cost {
            num_prompt_tokens: self.num_prompt_tokens,
            num_tokens: self.num_tokens,
            stats,
        };
        let mut last = self.object(json!([self.envelope.endpoint.closing(finish)]));
        let mut objects = Vec::new();
        if self.include_usage {
            objects.push(last);
            last = self.object(json!([]));
            last["usage"] = json!(cost.usage());
        }
        last["timings"] = json!(cost.timings());
        objects.push(last);
        objects
    }

    fn object(&self, choices: Value) -> Value {
        let mut object = self
            .envelope
            .around(self.envelope.endpoint.chunk_object(), choices);
        if self.include_usage {
            // OpenAI's clients expect the field on every chunk once it is asked for.
            object["usage"] = Value::Null;
        }
        object
    }
}
