//! What turns documents into a model's tokens: its tokenizer, its chat template, and how its texts begin.

use std::path::Path;

use anyhow::{Context, Result};
use foretoken_model::chat_template::{ChatTemplate, Message};
use foretoken_model::{ModelSource, Token, Tokenizer};
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

const TOKENIZER: &str = "tokenizer.json";

/// Bytes that are tokenised at once: the library takes some hundred bytes for each.
const PIECE: usize = 1 << 18;

/// A model's side of a corpus.
pub(crate) struct Tokens {
    pub(crate) tokenizer: Tokenizer,
    /// The model's, which may be more than the tokenizer has; without a `config.json` the tokenizer's.
    pub(crate) vocab_size: usize,
    chat_template: Option<ChatTemplate>,
    bos: Option<Token>,
    identity: u64,
}

/// The part of a `config.json` that a corpus needs.
#[derive(Default, Deserialize)]
struct Config {
    vocab_size: Option<usize>,
    bos_token_id: Option<Token>,
}

impl Tokens {
    /// Reads a model's folder, a `tokenizer.json` with what lies beside it, or the carried model's.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let (source, name) = match path {
            None => (ModelSource::demo(), TOKENIZER),
            Some(folder) if folder.is_dir() => (ModelSource::Directory(folder.into()), TOKENIZER),
            Some(file) => {
                let folder = file.parent().unwrap_or(Path::new(""));
                let name = file.file_name().and_then(|name| name.to_str());
                let name = name.with_context(|| file.display().to_string())?;
                (ModelSource::Directory(folder.into()), name)
            }
        };
        Self::read(&source, name).with_context(|| source.place().into_owned())
    }

    fn read(source: &ModelSource, name: &str) -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(&source.read(name)?)?;
        let config: Config = match source.find("config.json")? {
            Some(json) => serde_json::from_slice(&json).context("config.json")?,
            None => Config::default(),
        };
        let rendering = source.find("tokenizer_config.json")?;
        let chat_template = match &rendering {
            Some(json) => ChatTemplate::from_tokenizer_config(json)?,
            None => None,
        };
        let rendering = rendering.map_or(0, |json| xxh3_64(&json));
        let parts = (tokenizer.fingerprint(), rendering, config.bos_token_id);
        Ok(Self {
            vocab_size: config.vocab_size.unwrap_or(tokenizer.vocab_size()),
            chat_template,
            bos: config.bos_token_id,
            identity: xxh3_64(format!("{parts:?}").as_bytes()),
            tokenizer,
        })
    }

    /// Whether the model has a chat template.
    pub(crate) fn is_chat(&self) -> bool {
        self.chat_template.is_some()
    }

    /// Names what decides on the tokens of a document.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// Tokens of a text as a prompt would have them.
    pub(crate) fn text(&self, text: &str) -> Result<Vec<Token>> {
        let mut tokens = Vec::from_iter(self.bos);
        for piece in pieces(text) {
            tokens.extend(self.tokenizer.encode(piece, false)?);
        }
        Ok(tokens)
    }

    /// Tokens of a chat: by the model's template, else its turns with blank lines between. A template asks for a next
    /// turn at the end, which adds the beginning of a turn that no table is asked about.
    pub(crate) fn chat(&self, messages: &[Message]) -> Result<Vec<Token>> {
        let Some(template) = &self.chat_template else {
            let turns: Vec<&str> = messages.iter().map(|turn| turn.content.as_str()).collect();
            return self.text(&turns.join("\n\n"));
        };
        Ok(self.tokenizer.encode(&template.render(messages)?, false)?)
    }
}

/// A text in pieces that end where a line does, if it has lines.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut most = text.len().min(PIECE);
        while !text.is_char_boundary(most) {
            most -= 1;
        }
        let line = text[..most].rfind('\n').map(|end| end + 1);
        let end = line.filter(|_| most < text.len()).unwrap_or(most);
        let (piece, rest) = text.split_at(end);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_the_ends_of_lines() {
        let lines = "grüße\n\n".repeat(100_000);
        let one_line = "ü".repeat(300_000);
        for (text, num_pieces) in [("", 0), ("a\nb", 1), (&lines, 4), (&one_line, 3)] {
            let pieces: Vec<&str> = pieces(text).collect();
            assert_eq!((pieces.concat().as_str(), pieces.len()), (text, num_pieces));
            let ends_well = |piece: &&str| piece.ends_with('\n') || !text.contains('\n');
            assert!(pieces.iter().rev().skip(1).all(ends_well));
        }
    }
}
