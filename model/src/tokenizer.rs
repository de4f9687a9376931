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

    /// The bytes that a token stands for, which may be a part of a character; strung together, those of an output are
    /// its text. An id that does not exist has none.
    pub fn token_bytes(&self, token: Token) -> Vec<u8> {
        let decode = |tokens: &[Token]| self.decode(tokens, false).unwrap_or_default();
        // The first token of a decode may lose the space in front of it, the second does not.
        let (one, two) = (decode(&[token]), decode(&[token, token]));
        let text = two.strip_prefix(&one).unwrap_or(&one);
        if !text.contains(char::REPLACEMENT_CHARACTER) {
            return text.as_bytes().to_vec();
        }
        let content = self.inner.id_to_token(token).unwrap_or_default();
        (byte_fallback(&content).map(|byte| vec![byte]))
            .or_else(|| byte_level(&content))
            .unwrap_or_else(|| text.as_bytes().to_vec())
    }

    /// The id of a token by its exact content.
    pub fn token_to_id(&self, content: &str) -> Option<Token> {
        self.inner.token_to_id(content)
    }

    /// The first id that is not the same token here and there, with what it is: none if both have one vocabulary.
    pub fn first_difference(&self, other: &Self) -> Option<(Token, [Option<String>; 2])> {
        if self.fingerprint == other.fingerprint {
            return None;
        }
        // Ids need not be dense: an added token may stand far behind the others.
        let vocabularies = [self, other].map(|tokenizer| tokenizer.inner.get_vocab(true));
        let ids = vocabularies
            .iter()
            .flat_map(|vocabulary| vocabulary.values());
        let end = ids.max().map_or(0, |&last| last + 1);
        (0..end)
            .map(|id| {
                (
                    id,
                    [self, other].map(|tokenizer| tokenizer.inner.id_to_token(id)),
                )
            })
            .find(|(_, [own, others])| own != others)
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// The byte of a token such as `<0xF0>`, as sentencepiece's vocabularies write it.
fn byte_fallback(content: &str) -> Option<u8> {
    let digits = content.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// The bytes of a token of a byte-level vocabulary, which writes each byte as a printable character: itself where it is
/// one, else the next free one from U+0100 on.
fn byte_level(content: &str) -> Option<Vec<u8>> {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let byte = |c: char| match u32::from(c) {
        code @ 0..=0xFF => u8::try_from(code).ok().filter(is_printable),
        code => (0..=u8::MAX)
            .filter(|byte| !is_printable(byte))
            .nth(code as usize - 0x100),
    };
    content.chars().map(byte).collect()
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

    #[test]
    fn vocabularies_differ_by_their_first_different_id() {
        let json = ModelSource::demo().read("tokenizer.json").unwrap();
        let demo = Tokenizer::from_bytes(&json).unwrap();
        let with = |change: fn(&mut serde_json::Value)| {
            let mut json = serde_json::from_slice(&json).unwrap();
            change(&mut json);
            Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
        };
        let spaced = [&json[..], b"\n"].concat();
        let spaced = Tokenizer::from_bytes(&spaced).unwrap();
        assert_eq!(demo.first_difference(&spaced), None);
        let longer = with(|json| {
            let mut last = json["added_tokens"][0].clone();
            last["id"] = 9000.into();
            last["content"] = "<|more|>".into();
            json["added_tokens"].as_array_mut().unwrap().push(last);
        });
        let more = Some("<|more|>".to_owned());
        let id = longer.token_to_id("<|more|>").unwrap();
        assert_eq!(
            longer.first_difference(&demo),
            Some((id, [more.clone(), None]))
        );
        assert_eq!(demo.first_difference(&longer), Some((id, [None, more])));
    }

    /// Both kinds of vocabulary: spaces in front, parts of characters, special tokens.
    #[test]
    fn tokens_stand_for_bytes() {
        let stories = ModelSource::Directory(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories260K").into(),
        );
        for (source, special) in [(ModelSource::demo(), "<|im_end|>"), (stories, "</s>")] {
            let json = source.read("tokenizer.json").unwrap();
            let tokenizer = Tokenizer::from_bytes(&json).unwrap();
            for text in [
                "Once upon a time",
                " two  spaces\n",
                "Grüße, 世界! 🦀",
                "\u{fffd}",
            ] {
                let tokens = tokenizer.encode(text, false).unwrap();
                let bytes = tokens
                    .iter()
                    .flat_map(|&token| tokenizer.token_bytes(token));
                let bytes = String::from_utf8(bytes.collect()).unwrap();
                // Sentencepiece puts a space in front of a text.
                assert_eq!(bytes.trim_start(), text.trim_start());
            }
            let id = tokenizer.token_to_id(special).unwrap();
            assert_eq!(tokenizer.token_bytes(id), special.as_bytes());
            assert_eq!(tokenizer.token_bytes(Token::MAX), b"");
        }
    }
}
