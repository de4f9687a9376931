//! Tokens to text as they come: no half character leaves, and nothing that may become a stop string.

mod decoder;

use std::sync::Arc;

use foretoken_model::{Token, Tokenizer};

use decoder::Decoder;

/// The text of one output, growing token by token.
#[derive(Debug)]
pub struct TextStream {
    decoder: Decoder,
    stop: Vec<String>,
    include_stop_strings: bool,
    /// Decoded text that may become a stop string: empty or a proper prefix of one.
    held: String,
    /// Characters decoded so far.
    num_chars: usize,
}

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
        tokenizer: Arc<Tokenizer>,
        stop: Vec<String>,
        include_stop_strings: bool,
        skip_special_tokens: bool,
    ) -> Self {
        Self {
            decoder: Decoder::new(tokenizer, skip_special_tokens),
            stop,
            include_stop_strings,
            held: String::new(),
            num_chars: 0,
        }
    }

    /// Takes the next token.
    pub fn push(&mut self, token: Token) -> Pushed {
        let decoded = self.decoder.push(token);
        self.release(&decoded)
    }

    /// Characters of the text so far, those included that are held back or that a stop string cuts off.
    pub fn num_chars(&self) -> usize {
        self.num_chars
    }

    /// True if nothing is held back.
    pub fn is_out(&self) -> bool {
        self.held.is_empty() && !self.decoder.has_pending()
    }

    /// The output has ended: everything that was held back.
    pub fn finish(&mut self) -> String {
        let decoded = self.decoder.finish();
        // Only bytes that form no character are decoded this late; a stop string in them still cuts.
        let mut text = self.release(&decoded).text;
        text.push_str(&std::mem::take(&mut self.held));
        text
    }

    /// Adds decoded text and lets go of what cannot become part of a stop string.
    ///
    /// The stop string that is complete first ends the output, as it would for a reader who goes character by
    /// character; of several that end at one place it is the longest. So where tokens begin and end changes nothing.
    fn release(&mut self, decoded: &str) -> Pushed {
        self.held.push_str(decoded);
        self.num_chars += decoded.chars().count();
        let first_complete = (self.stop.iter())
            .filter_map(|stop| Some((self.held.find(stop)?, stop)))
            .min_by_key(|&(start, stop)| (start + stop.len(), start));
        if let Some((start, stop)) = first_complete {
            let kept = if self.include_stop_strings {
                stop.len()
            } else {
                0
            };
            self.held.truncate(start + kept);
            self.decoder.clear();
            return Pushed {
                text: std::mem::take(&mut self.held),
                stop: Some(stop.clone()),
            };
        }
        let may_become_stop =
            |&start: &usize| (self.stop.iter()).any(|stop| stop.starts_with(&self.held[start..]));
        let held_from = (self.held.char_indices())
            .map(|(start, _)| start)
            .find(may_become_stop)
            .unwrap_or(self.held.len());
        let held = self.held.split_off(held_from);
        Pushed {
            text: std::mem::replace(&mut self.held, held),
            stop: None,
        }
    }
}
