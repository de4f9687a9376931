//! Text to tokens and back.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::Token;

/// A model's tokenizer, from its `tokenizer.json`.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    fingerprint: u64,
    longest_token: usize,
}

/// What the tokenizer could not do, in its library's words.
#[derive(Debug, Error)]
#[error("tokenizer: {0}")]
pub struct TokenizerError(#[from] tokenizers::Error);

impl Tokenizer {
    /// Reads the contents of a `tokenizer.json`.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
        // A file may carry truncation or padding from its training; a server wants neither.
        inner.with_truncation(None)?;
        inner.with_padding(None);
        let longest_token = inner
            .get_vocab(true)
            .keys()
            .map(String::len)
            .max()
            .unwrap_or(1);
        Ok(Self {
            inner,
            fingerprint: xxh3_64(json),
            longest_token: longest_token.max(1),
        })
    }

    /// Names the file it was read from, byte for byte: what holds token ids is of use with its own tokenizer only.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Tokens that a text of so many bytes has at least, without looking at it.
    pub fn least_tokens(&self, num_bytes: usize) -> usize {
        num_bytes.div_ceil(self.longest_token)
    }

    /// Tokens of `text`. With `add_special_tokens`, what the tokenizer puts around a text (BOS) is put.
    pub fn encode(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<Token>, TokenizerError> {
        Ok(self
            .inner
            .encode_fast(text, add_special_tokens)?
            .get_ids()
            .to_vec())
    }

    /// Text of `tokens`; bytes that form no character yet come out as U+FFFD.
    pub fn decode(
        &self,
        tokens: &[Token],
        skip_special_tokens: bool,
    ) -> Result<String, TokenizerError> {
        Ok(self.inner.decode(tokens, skip_special_tokens)?)
    }

    /// The id of a token by its exact content.
    pub fn token_to_id(&self, content: &str) -> Option<Token> {
        self.inner.token_to_id(content)
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelSource;

    #[test]
    fn the_fingerprint_is_that_of_the_file() {
        let json = ModelSource::demo().read("tokenizer.json").unwrap();
        let fingerprint = |json: &[u8]| Tokenizer::from_bytes(json).unwrap().fingerprint();
        let other = [&json[..], b"\n"].concat();
        assert_eq!(fingerprint(&json), fingerprint(&json));
        assert_ne!(fingerprint(&json), fingerprint(&other));
    }
}
