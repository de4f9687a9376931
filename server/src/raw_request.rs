//! A request as a door hands it in, before anything of it is checked.

use foretoken_model::Token;
use foretoken_model::chat_template::Message;

/// A request as a wire format states it: every field optional, nothing checked.
#[derive(Clone, Debug, Default)]
pub struct RawRequest {
    /// Must be a served name if given.
    pub model: Option<String>,
    /// What to continue.
    pub prompt: Prompt,
    /// What else to continue, each in the same way.
    pub more_prompts: Vec<Prompt>,
    /// Sampling fields; what is missing comes from the model's `generation_config.json`, then neutral values.
    pub sampling: RawSampling,
    /// Tokens to generate at most; the rest of the context if missing.
    pub max_tokens: Option<u32>,
    /// Strings that end the output.
    pub stop: Vec<String>,
    /// Tokens that end the output.
    pub stop_token_ids: Vec<Token>,
    /// Keeps the stop string in the text.
    pub include_stop_strings: bool,
    /// Generates past end-of-sequence tokens.
    pub ignore_eos: bool,
    /// Leaves special tokens out of the text; true if missing.
    pub skip_special_tokens: Option<bool>,
    /// Who runs first: the lower number; 0 if missing. Each level lets 1000 later requests pass, then the request is due.
    pub priority: Option<i32>,
    /// Cached prefixes are shared among requests of the same salt alone.
    pub cache_salt: Option<String>,
    /// Tells each token's log probability, and those of so many of the likeliest tokens at its place, 0 to 20.
    pub logprobs: Option<u32>,
    /// What the answer is expected to be, for drafters; changes how fast it comes, never what it is.
    pub prediction: Option<String>,
    /// Drafting fields; what is missing comes from the server's configuration.
    pub speculation: RawSpeculation,
}

/// What to continue, as a client states it.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// Tokenised with the model's special tokens (BOS) in front.
    Text(String),
    /// Taken as it is.
    Tokens(Vec<Token>),
    /// Rendered through the model's chat template, which writes the special tokens itself.
    Chat(Vec<Message>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Tokens(Vec::new())
    }
}

/// Sampling fields as a client states them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawSampling {
    /// 0 to 2 is usual; any finite value from 0 is taken.
    pub temperature: Option<f32>,
    /// 0 or -1 keeps all.
    pub top_k: Option<i64>,
    /// In (0, 1].
    pub top_p: Option<f32>,
    /// In [0, 1].
    pub min_p: Option<f32>,
    /// In [-2, 2].
    pub presence_penalty: Option<f32>,
    /// In [-2, 2].
    pub frequency_penalty: Option<f32>,
    /// Above 0.
    pub repetition_penalty: Option<f32>,
    /// Token id and bias in [-100, 100].
    pub logit_bias: Vec<(Token, f32)>,
    /// A request without one is given one and told it.
    pub seed: Option<u64>,
}

/// Drafting fields as a client states them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawSpeculation {
    /// A drafter's name, or `none`.
    pub drafter: Option<String>,
    /// 0 to 63; 0 is plain decoding.
    pub max_draft_tokens: Option<u32>,
    /// 0 to `max_draft_tokens`.
    pub min_draft_tokens: Option<u32>,
    /// 1 to 63.
    pub max_draft_depth: Option<u32>,
}
