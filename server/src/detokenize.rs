//! Tokens to text as they come: no half character leaves, and nothing that may become a stop string.

use std::sync::Arc;

use foretoken_model::{Token, Tokenizer};

/// The text of one output, growing token by token.
#[derive(Debug)]
pub struct TextStream {}

/// What one token let out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pushed {
    /// Text that may leave now; the texts of all pushes and of `finish` are the whole output.
    pub text: String,
    /// The stop string that this token completed; the text is cut there and nothing may be pushed after.
    pub stop: Option<String>,
}

impl TextStream {
    /// `stop` holds no empty string. With `include_stop_strings` the text ends after the stop string, else before it.
    pub fn new(
        _tokenizer: Arc<Tokenizer>,
        _stop: Vec<String>,
        _include_stop_strings: bool,
        _skip_special_tokens: bool,
    ) -> Self {
        Self {}
    }

    /// Takes the next token.
    pub fn push(&mut self, _token: Token) -> Pushed {
        Pushed::default()
    }

    /// The output has ended: everything that was held back.
    pub fn finish(&mut self) -> String {
        String::new()
    }
}
