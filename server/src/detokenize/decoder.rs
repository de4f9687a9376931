//! Incremental decoding: each token gives the text that is certain with it, for the price of a short decode.

use std::sync::Arc;

use foretoken_model::{Token, Tokenizer};

/// Decodes a short window at each token instead of the whole output, as vLLM and `tokenizers` do.
///
/// The window is context, tokens whose text has left, and then pending tokens. Context is there because the first
/// token of a decode is special: a sentencepiece tokenizer drops the space in front of it.
///
/// The texts of all pushes and of `finish` are one decode of all tokens, with one exception. A tokenizer with byte
/// fallback (Llama 2's) decodes a run of byte tokens with a broken character or U+FFFD in it to nothing but U+FFFD,
/// the run's whole characters included. Those have left by then, and stay. Waiting for the end of every run would be
/// exact, but hold up each line break, which is a byte token there, and each stop string that ends in one.
#[derive(Debug)]
pub(super) struct Decoder {
    tokenizer: Arc<Tokenizer>,
    skip_special_tokens: bool,
    window: Vec<Token>,
    /// Tokens of the window that are context.
    num_context: usize,
    /// The part of the window's text that has left.
    sent: String,
}

/// What a tokenizer writes for bytes that form no character, or none yet.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Half a character is three bytes at most: one U+FFFD with byte-level BPE, one for each byte with byte fallback.
const MAX_HALF: usize = 3;

/// A window that grows longer, because each of its tokens ends in half a character, is cut...
const MAX_WINDOW: usize = 16;

/// ...to its last tokens. UTF-8 falls back in step within three bytes, and the text that has not left,
/// three U+FFFD at most, stands for nine at most.
const MIN_WINDOW: usize = 12;

impl Decoder {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            window: Vec::new(),
            num_context: 0,
            sent: String::new(),
        }
    }

    /// Takes the next token and gives the text that no later token can change.
    pub(super) fn push(&mut self, token: Token) -> String {
        // Skipped special tokens would crowd the context out. Twice, because a first space may be dropped.
        if self.decode(&[token, token]).is_empty() {
            return String::new();
        }
        self.window.push(token);
        let mut text = self.decode(&self.window);
        if !text.starts_with(&self.sent) {
            // Byte fallback: half a character, or a broken one, takes back the whole ones before it.
            self.window.drain(..self.num_context);
            self.num_context = 0;
            self.sent.clear();
            text = self.decode(&self.window);
        }
        let settled = &text[..settled_len(&text)];
        let mut new = settled
            .get(self.sent.len()..)
            .unwrap_or_default()
            .to_owned();
        self.sent.push_str(&new);
        if settled.len() == text.len() {
            self.window.drain(..self.num_context);
            self.num_context = self.window.len();
            self.sent = self.decode(&self.window);
        } else if self.window.len() > MAX_WINDOW {
            new.push_str(self.shorten(&text[self.sent.len()..]));
        }
        new
    }

    /// The output has ended: the text of the pending tokens, half characters as U+FFFD.
    pub(super) fn finish(&mut self) -> String {
        let text = self.decode(&self.window);
        let rest = text.strip_prefix(&self.sent).unwrap_or_default().to_owned();
        self.clear();
        rest
    }

    /// True if some of the tokens' text has not left.
    pub(super) fn has_pending(&self) -> bool {
        self.num_context < self.window.len()
    }

    /// Forgets all tokens.
    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.num_context = 0;
        self.sent.clear();
    }

    /// Cuts the window to its last tokens. `unsent` is the end of its text that has not left, all of it U+FFFD;
    /// what is given back of it has to leave now.
    fn shorten<'a>(&mut self, unsent: &'a str) -> &'a str {
        self.window.drain(..self.window.len() - MIN_WINDOW);
        let text = self.decode(&self.window);
        let num_unsent = unsent.chars().count();
        match text.strip_suffix(unsent) {
            Some(sent) => {
                self.sent = sent.to_owned();
                self.num_context = MIN_WINDOW - num_unsent;
                ""
            }
            // Byte fallback: the byte that broke the run is out of the window, so its characters are whole again.
            None => {
                self.sent = text;
                self.num_context = MIN_WINDOW;
                unsent
            }
        }
    }

    /// What cannot be decoded has no text: the tokens stand in the answer all the same.
    fn decode(&self, tokens: &[Token]) -> String {
        (self.tokenizer.decode(tokens, self.skip_special_tokens)).unwrap_or_default()
    }
}

/// Bytes of `text` before what may be half a character.
fn settled_len(text: &str) -> usize {
    let half = (text.chars().rev().take(MAX_HALF)).take_while(|&c| c == REPLACEMENT);
    text.len() - half.count() * REPLACEMENT.len_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cost of a token is bounded, whatever comes.
    #[test]
    fn window_stays_short() {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../model");
        // Half a character, bytes that are none, a whole one, both with others, and a skipped special token.
        let cases = [
            ("demo", vec!["ð", "Ł"]),
            ("demo", vec!["Ģ"]),
            ("demo", vec!["ð", "Ł", "¦", "Ģ"]),
            ("demo", vec!["Ģ", "ð", "Ł", "¦"]),
            ("demo", vec!["ð", "<|im_end|>"]),
            ("tests/stories260K", vec!["<0xF0>"]),
            ("tests/stories260K", vec!["<0xC3>", "<0xA9>", "<0x80>"]),
            ("tests/stories260K", vec!["<0xE4>", "<0xBD>", "<0xA0>"]),
            ("tests/stories260K", vec!["</s>"]),
        ];
        for (model, cycle) in cases {
            let json = std::fs::read(format!("{models}/{model}/tokenizer.json")).unwrap();
            let tokenizer = Arc::new(Tokenizer::from_bytes(&json).unwrap());
            let id = |content: &&str| tokenizer.token_to_id(content).unwrap();
            let mut decoder = Decoder::new(Arc::clone(&tokenizer), true);
            for token in cycle.iter().map(id).cycle().take(200) {
                decoder.push(token);
                assert!(decoder.window.len() <= MAX_WINDOW, "{model} {cycle:?}");
            }
        }
    }
}
