//! An answer as server-sent events, one or more per engine step.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event, KeepAlive, Sse};
use foretoken_model::Tokenizer;
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::{Value, json};

use super::choice::Choice;
use super::envelope::Envelope;
use super::error::ApiError;
use super::logprobs::LogprobsWriter;
use super::options::StreamedUsage;
use super::usage::{Cost, Usage};
use crate::choices::Choices;
use crate::generation::{Chunk, Interrupted};

/// Streams `choices`, which end when the client leaves, because the stream owns them.
pub(super) fn respond(
    choices: Choices,
    writer: Writer,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((choices, writer), |(mut choices, mut writer)| async {
        let (index, chunk) = choices.next().await?;
        Some((writer.write(index, chunk), (choices, writer)))
    });
    let events = events.flat_map(|data| stream::iter(data.into_iter().map(event)));
    // Comments keep idle connections of waiting requests open.
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn event(data: String) -> Result<Event, Infallible> {
    Ok(Event::default().data(data))
}

/// Turns chunks into the data of events.
pub(super) struct Writer {
    envelope: Envelope,
    usage: StreamedUsage,
    choices: Vec<ChoiceWriter>,
    num_running: usize,
    cost: Cost,
}

/// Turns the chunks of one choice into the choices of objects.
struct ChoiceWriter {
    choice: Choice,
    /// Which prompt it answers.
    prompt: usize,
    /// Goes before the first chunk.
    opening: Option<Value>,
    logprobs: LogprobsWriter,
    /// Tokens so far.
    num_tokens: usize,
}

impl Writer {
    /// Each choice begins with the text of its prompt in `echoed`, if there is any.
    pub(super) fn new(
        envelope: Envelope,
        choices: &Choices,
        tokenizer: &Arc<Tokenizer>,
        echoed: &[String],
        usage: StreamedUsage,
    ) -> Self {
        let endpoint = envelope.endpoint;
        let writer = |(index, choice): (usize, Choice)| {
            let prompt = choices.prompt_of(index);
            ChoiceWriter {
                choice,
                prompt,
                opening: choice.opening(echoed.get(prompt).map_or("", String::as_str)),
                logprobs: LogprobsWriter::new(endpoint, tokenizer),
                num_tokens: 0,
            }
        };
        let all = Choice::all(endpoint, choices).enumerate();
        Self {
            usage,
            choices: all.map(writer).collect(),
            num_running: choices.num_choices(),
            cost: Cost::new(choices.prompts.iter().map(Vec::len)),
            envelope,
        }
    }

    fn write(&mut self, index: usize, chunk: Result<Chunk, Interrupted>) -> Vec<String> {
        let mut chunk = match chunk {
            Ok(chunk) => chunk,
            // No `[DONE]`: what came is not the whole answer.
            Err(interrupted) => return vec![ApiError::from(interrupted).body().to_string()],
        };
        let writer = &mut self.choices[index];
        // Each with the tokens that it and those before it brought.
        let opening = writer.opening.take().map(|opening| (opening, 0));
        let mut choices: Vec<(Value, usize)> = opening.into_iter().collect();
        let logprobs = writer.logprobs.write(&mut chunk);
        writer.num_tokens += chunk.tokens.len();
        let (prompt, num_tokens) = (writer.prompt, writer.num_tokens);
        if !chunk.text.is_empty() || !logprobs.is_null() {
            choices.push((writer.choice.piece(&chunk.text, logprobs), num_tokens));
        }
        if let Some(finish) = &chunk.finish {
            choices.push((writer.choice.closing(finish), num_tokens));
            self.cost.add(prompt, num_tokens, &chunk.stats);
            self.num_running -= 1;
        }
        let objects = choices.into_iter().map(|(choice, num_tokens)| {
            let usage = || self.cost.of_one(prompt, num_tokens, &chunk.stats);
            self.object(json!([choice]), usage)
        });
        let objects: Vec<Value> = objects.collect();
        match self.num_running {
            0 => self.end(objects),
            _ => objects.iter().map(Value::to_string).collect(),
        }
    }

    /// The end of the stream behind the last choice's last objects; the very last one carries the timings.
    fn end(&self, mut objects: Vec<Value>) -> Vec<String> {
        if self.usage != StreamedUsage::Nowhere {
            let mut usage = self.object(json!([]), || self.cost.usage());
            usage["usage"] = json!(self.cost.usage());
            objects.push(usage);
        }
        if let Some(last) = objects.last_mut() {
            last["timings"] = json!(self.cost.timings());
        }
        let data = objects.iter().map(Value::to_string);
        data.chain(["[DONE]".to_owned()]).collect()
    }

    fn object(&self, choices: Value, usage: impl FnOnce() -> Usage) -> Value {
        let mut object = self
            .envelope
            .around(self.envelope.endpoint.chunk_object(), choices);
        match self.usage {
            StreamedUsage::Nowhere => {}
            // OpenAI's clients expect the field on every chunk once it is asked for.
            StreamedUsage::Last => object["usage"] = Value::Null,
            StreamedUsage::Everywhere => object["usage"] = json!(usage()),
        }
        object
    }
}
