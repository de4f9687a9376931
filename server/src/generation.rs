//! The answer to one request as a door sees it: events become chunks of text.

use foretoken_model::Token;
use tokio::sync::mpsc;

use crate::detokenize::TextStream;
pub use crate::lifetime::Interrupted;
use crate::lifetime::Lifetime;
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
}

/// What one engine step brought, as text.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// May be empty while characters or stop strings are incomplete. The texts of all chunks are the answer.
    pub text: String,
    /// The tokens of this step, those behind a stop string left out.
    pub tokens: Vec<Emitted>,
    /// How many bytes of `text` each token let out; what the end of the output let out counts as the last one's.
    pub text_lens: Vec<usize>,
    /// Running totals, this chunk included.
    pub stats: Stats,
    /// Set on the last chunk.
    pub finish: Option<Finish>,
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
            let chunk = chunk?;
            whole.text.push_str(&chunk.text);
            whole.tokens.extend(chunk.tokens);
            whole.text_lens.extend(chunk.text_lens);
            whole.stats = chunk.stats;
            whole.finish = chunk.finish;
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
            text_lens: Vec::new(),
            stats,
            finish,
        };
        for index in 0..chunk.tokens.len() {
            let is_last = index + 1 == chunk.tokens.len();
            if is_last && self.is_silent(&chunk) {
                chunk.push_text("");
                continue;
            }
            let pushed = self.text.push(chunk.tokens[index].token);
            chunk.push_text(&pushed.text);
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
            if let Some(last) = chunk.text_lens.last_mut() {
                *last += rest.len();
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
    fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.text_lens.push(text.len());
    }
}
