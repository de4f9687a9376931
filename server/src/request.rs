//! What passes between the edge and the engine: `Request` in, `Event` out.

use std::sync::Arc;
use std::time::Duration;

use foretoken_draft::PREDICTION;
use foretoken_model::{Logprobs, SamplingParams, Token};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A request behind the door: validated, tokenised, and holding its admission permit.
#[derive(Debug)]
pub struct Request {
    /// Never empty, every id within the vocabulary, shorter than the context.
    pub prompt: Vec<Token>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// When the engine ends it.
    pub stopping: Stopping,
    /// Who drafts for it, and how much.
    pub speculation: Speculation,
    /// What the client expects to be said, every id within the vocabulary; empty if nothing.
    pub prediction: Arc<[Token]>,
    /// How many of the likeliest tokens are told at each position, beside the one that stands there; none if that is
    /// not told either.
    pub logprobs: Option<usize>,
    /// Who runs first: the lower number. Each level lets 1000 later requests pass.
    pub priority: i32,
    /// Prefixes in the cache are shared among requests of the same salt alone.
    pub cache_salt: Option<Arc<str>>,
    /// Has room for every event that the request can produce, so that sending fails only when the client is gone.
    pub events: mpsc::Sender<Event>,
    /// Given back when the engine drops the request.
    pub permit: OwnedSemaphorePermit,
}

/// When the engine ends a request. Stop strings are found at the edge, where the text is.
#[derive(Clone, Debug, PartialEq)]
pub struct Stopping {
    /// At least 1; prompt and output together fit the context.
    pub max_tokens: usize,
    /// Tokens that end the request, beside the model's own end-of-sequence tokens; sorted.
    pub stop_token_ids: Vec<Token>,
    /// Generates past the model's end-of-sequence tokens.
    pub ignore_eos: bool,
}

/// A request's drafting: who, and within which limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Speculation {
    /// Name of a drafter that the engine has; none is plain decoding.
    pub drafter: Option<&'static str>,
    /// Nodes beside the root, at most 63.
    pub max_draft_tokens: usize,
    /// Nodes that are verified if drafted, whatever the budget says.
    pub min_draft_tokens: usize,
    /// Levels below the root.
    pub max_draft_depth: usize,
}

/// What one step brought one request.
#[derive(Clone, Debug)]
pub struct Event {
    /// The accepted path's tokens in order, then the bonus token, cut at the first that ends the request.
    pub tokens: Vec<Emitted>,
    /// Running totals, this event included.
    pub stats: Stats,
    /// Set on the last event.
    pub finish: Option<Finish>,
}

/// A token of the output and who guessed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The token.
    pub token: Token,
    /// The drafter whose guess it was; none for the bonus token.
    pub source: Option<&'static str>,
    /// How likely the model found it, if the request asked.
    pub logprobs: Option<Box<Logprobs>>,
}

/// Running totals of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Target forwards that produced tokens.
    pub num_steps: usize,
    /// Verifies that held at least one draft token.
    pub num_drafts: usize,
    /// Draft tokens verified.
    pub num_draft_tokens: usize,
    /// Draft tokens kept.
    pub num_accepted_tokens: usize,
    /// Those of the draft tokens verified that were the client's prediction.
    pub num_prediction_tokens: usize,
    /// Those of them that were kept.
    pub num_accepted_prediction_tokens: usize,
    /// Entry i counts the verifies that kept the draft token at depth i + 1.
    pub accepted_per_pos: Vec<usize>,
    /// Tokens of the prompt that were in the cache when the request first ran.
    pub num_cached_tokens: usize,
    /// From first being scheduled to the first token.
    pub prefill: Duration,
    /// From the first step's tokens to the latest.
    pub decode: Duration,
    /// Tokens that `decode` took: all but the first step's.
    pub num_decode_tokens: usize,
}

impl Emitted {
    /// True if the guess was the client's own.
    pub fn is_predicted(&self) -> bool {
        self.source == Some(PREDICTION)
    }
}

impl Stats {
    /// Tokens emitted per verify, bonus token included: 1 + accepted / drafts.
    pub fn mean_acceptance_length(&self) -> f64 {
        1.0 + self.num_accepted_tokens as f64 / self.num_drafts.max(1) as f64
    }

    /// Tokens per second after the first step; none if that was all.
    pub fn decode_speed(&self) -> Option<f64> {
        let measured = self.num_decode_tokens > 0 && !self.decode.is_zero();
        measured.then(|| self.num_decode_tokens as f64 / self.decode.as_secs_f64())
    }

    /// Adds what another choice of the same request counted, whose prompt was the same and who ran beside it.
    pub fn add(&mut self, other: &Self) {
        self.num_steps += other.num_steps;
        self.num_drafts += other.num_drafts;
        self.num_draft_tokens += other.num_draft_tokens;
        self.num_accepted_tokens += other.num_accepted_tokens;
        self.num_prediction_tokens += other.num_prediction_tokens;
        self.num_accepted_prediction_tokens += other.num_accepted_prediction_tokens;
        let deepest = self
            .accepted_per_pos
            .len()
            .max(other.accepted_per_pos.len());
        self.accepted_per_pos.resize(deepest, 0);
        for (count, more) in self
            .accepted_per_pos
            .iter_mut()
            .zip(&other.accepted_per_pos)
        {
            *count += more;
        }
        // What one choice has left in the cache for the next was not there before them.
        self.num_cached_tokens = self.num_cached_tokens.min(other.num_cached_tokens);
        self.prefill = self.prefill.max(other.prefill);
        self.decode = self.decode.max(other.decode);
        self.num_decode_tokens += other.num_decode_tokens;
    }

    /// Takes back what `cut`, the tail of an event's tokens, had counted; `kept` is how many tokens stand before it.
    pub fn uncount(&mut self, kept: usize, cut: &[Emitted]) {
        self.num_decode_tokens = self.num_decode_tokens.saturating_sub(cut.len());
        for (index, emitted) in cut.iter().enumerate() {
            if emitted.source.is_some() {
                self.num_accepted_tokens -= 1;
                self.accepted_per_pos[kept + index] -= 1;
                self.num_accepted_prediction_tokens -= usize::from(emitted.is_predicted());
            }
        }
    }
}

/// Why a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    /// `max_tokens` or the context is used up.
    Length,
    /// The model's own end-of-sequence token, the last token of the output.
    Eos(Token),
    /// One of the request's stop tokens, the last token of the output.
    StopToken(Token),
    /// One of the request's stop strings.
    StopString(String),
}

impl Finish {
    /// OpenAI's word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Eos(_) | Self::StopToken(_) | Self::StopString(_) => "stop",
        }
    }
}
