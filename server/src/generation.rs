//! The answer to one request as a door sees it: events become chunks of text.

use foretoken_model::Token;
use tokio::sync::mpsc;

use crate::detokenize::{Pushed, TextStream};
pub use crate::lifetime::Interrupted;
use crate::lifetime::Lifetime;
use crate::metrics::RequestMeter;
use crate::request::{Emitted, Event, Finish, Stats};

/// A running request. Dropping it is how a client leaves: the engine then frees what it held.
#[derive(Debug)]
pub struct Generation {
    /// The tokenised prompt.
    pub prompt: Vec<Token>,
    /// The seed in use, whether asked for or given.
    pub seed: u64,
    /// The drafter in use; none is plain decoding.
    pub drafter: Option<&'static str>,
    /// Where the engine's events arrive.
    pub(crate) events: mpsc::Receiver<Event>,
    /// When to wait for them no longer.
    pub(crate) lifetime: Lifetime,
    /// Their text so far.
    pub(crate) text: TextStream,
    /// Writes the token that ended the output into the text too.
    pub(crate) include_stop: bool,
    /// The last chunk has been given out.
    pub(crate) finished: bool,
    /// Counts it.
    pub(crate) meter: RequestMeter,
}

/// What one engine step brought, as text.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// May be empty while characters or stop strings are incomplete. The texts of all chunks are the answer.
    pub text: String,
    /// The tokens of this step, those behind a stop string left out.
    pub tokens: Vec<Emitted>,
    /// By token: how it stands to the text.
    pub places: Vec<Place>,
    /// Running totals, this chunk included.
    pub stats: Stats,
    /// Set on the last chunk.
    pub finish: Option<Finish>,
}

/// How a token stands to the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Characters of the answer in front of the token's own, wherever chunks or a stop string cut it.
    pub offset: usize,
    /// Bytes of the chunk's text that it let out; what the end of the output let out counts as the last token's.
    pub num_bytes: usize,
    /// With it, its own text and all text in front of it is out.
    pub is_out: bool,
}

impl Generation {
    /// The next chunk; none after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Chunk, Interrupted>> {
        if self.finished {
            return None;
        }
        let event = tokio::select! {
            // What is there already is given out.
            biased;
            event = self.events.recv() => event.ok_or(Interrupted::EngineFailed),
            interrupted = self.lifetime.over() => Err(interrupted),
        };
        let chunk = event.map(|event| self.read(event));
        if let Ok(chunk) = &chunk {
            self.meter.chunk(chunk);
        }
        self.finished = chunk.as_ref().map_or(true, |chunk| chunk.finish.is_some());
        Some(chunk)
    }

    /// The whole answer as one chunk.
    pub async fn collect(mut self) -> Result<Chunk, Interrupted> {
        let mut whole = self
            .next()
            .await
            .unwrap_or(Err(Interrupted::EngineFailed))?;
        while let Some(chunk) = self.next().await {
            whole.append(chunk?);
        }
        Ok(whole)
    }

    /// Text of an event's tokens, cut at the token that completes a stop string.
    fn read(&mut self, event: Event) -> Chunk {
        let Event {
            tokens,
            stats,
            finish,
        } = event;
        let mut chunk = Chunk {
            text: String::new(),
            tokens,
            places: Vec::new(),
            stats,
            finish,
        };
        for index in 0..chunk.tokens.len() {
            let is_last = index + 1 == chunk.tokens.len();
            let offset = self.text.num_chars();
            let pushed = match is_last && self.is_silent(&chunk) {
                true => Pushed::default(),
                false => self.text.push(chunk.tokens[index].token),
            };
            chunk.text.push_str(&pushed.text);
            chunk.places.push(Place {
                offset,
                num_bytes: pushed.text.len(),
                is_out: self.text.is_out(),
            });
            if let Some(stop) = pushed.stop {
                let cut = chunk.tokens.split_off(index + 1);
                chunk.stats.uncount(chunk.tokens.len(), &cut);
                chunk.finish = Some(Finish::StopString(stop));
                return chunk;
            }
        }
        if chunk.finish.is_some() {
            let rest = self.text.finish();
            chunk.text.push_str(&rest);
            if let Some(last) = chunk.places.last_mut() {
                last.num_bytes += rest.len();
                last.is_out = true;
            }
        }
        chunk
    }

    /// True if the chunk's last token only says that the output has ended.
    fn is_silent(&self, chunk: &Chunk) -> bool {
        let says_end = matches!(chunk.finish, Some(Finish::Eos(_) | Finish::StopToken(_)));
        says_end && !self.include_stop
    }
}

impl Chunk {
    /// Puts the chunk that follows behind this one.
    pub(crate) fn append(&mut self, next: Self) {
        self.text.push_str(&next.text);
        self.tokens.extend(next.tokens);
        self.places.extend(next.places);
        self.stats = next.stats;
        self.finish = next.finish;
    }
}
