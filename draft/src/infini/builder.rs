//! Sorts the suffixes of a corpus and writes its file.

use std::io::{self, Write};

use foretoken_model::Token;
use libsais::{LibsaisError, SuffixArrayConstruction};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::corpus::{Header, token_size};
use crate::file_head::Vocabulary;
use crate::parts::PartsError;

/// Separators of larger vocabularies would leave no room for what sorting adds.
const MAX_VOCAB_SIZE: usize = 1 << 24;

/// Places are sorted as signed 32-bit numbers.
const MAX_TOKENS: usize = i32::MAX as usize;

/// Bytes that are encoded at a time.
const CHUNK: usize = 1 << 16;

/// Collects documents, then sorts all their suffixes: in linear time, with 8 to 12 bytes of memory for each token.
#[derive(Debug)]
pub struct SuffixArrayBuilder {
    vocab_size: u32,
    fingerprint: u64,
    /// Signed, as they are sorted.
    tokens: Vec<i32>,
}

/// Why a corpus cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// More tokens than can be sorted.
    #[error("corpus: a vocabulary of {0} tokens, where {MAX_VOCAB_SIZE} can be stored")]
    VocabSize(usize),
    /// A text that is not of this vocabulary.
    #[error("corpus: token {token} in a vocabulary of {vocab_size}")]
    Token {
        /// The offender.
        token: Token,
        /// Tokens of the vocabulary are below this.
        vocab_size: u32,
    },
    /// More than 31 bits can count.
    #[error("corpus: {0} tokens and separators, where {MAX_TOKENS} can be sorted")]
    Size(usize),
    /// Sorting failed.
    #[error("corpus: cannot sort {num_tokens} suffixes: {error}")]
    Sort {
        /// Tokens and separators.
        num_tokens: usize,
        /// The sorter's word.
        error: LibsaisError,
    },
    /// Writing failed.
    #[error("corpus: cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The build's files.
    #[error(transparent)]
    Parts(#[from] PartsError),
}

impl SuffixArrayBuilder {
    /// A builder for a model's `vocab_size` and its tokenizer's fingerprint.
    pub fn new(vocab_size: usize, fingerprint: u64) -> Result<Self, BuildError> {
        if vocab_size > MAX_VOCAB_SIZE {
            return Err(BuildError::VocabSize(vocab_size));
        }
        Ok(Self {
            vocab_size: vocab_size as u32,
            fingerprint,
            tokens: Vec::new(),
        })
    }

    /// Adds one document. Nothing is matched or continued across two.
    pub fn push_document(&mut self, document: &[Token]) -> Result<(), BuildError> {
        let vocab_size = self.vocab_size;
        if let Some(&token) = document.iter().find(|&&token| token >= vocab_size) {
            return Err(BuildError::Token { token, vocab_size });
        }
        let num_tokens = self.tokens.len() + document.len() + 1;
        if num_tokens > MAX_TOKENS {
            return Err(BuildError::Size(num_tokens));
        }
        let separated = document.iter().chain([&vocab_size]);
        self.tokens.extend(separated.map(|&token| token as i32));
        Ok(())
    }

    /// Tokens so far, and a separator for each document.
    pub fn num_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The same, as they are stored of a build that is not finished.
    pub(super) fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Sorts and writes: the same bytes for the same documents in the same order.
    pub fn write(mut self, output: &mut impl Write) -> Result<(), BuildError> {
        let num_tokens = self.tokens.len();
        let sorted = SuffixArrayConstruction::for_text_mut(&mut self.tokens)
            .in_owned_buffer32()
            .single_threaded()
            .run();
        let suffixes = match sorted {
            Ok(sorted) => sorted.into_vec(),
            Err(error) => return Err(BuildError::Sort { num_tokens, error }),
        };
        let mut output = Hashed::new(output);
        let header = Header {
            vocabulary: Vocabulary {
                size: self.vocab_size,
                fingerprint: self.fingerprint,
            },
            num_tokens: num_tokens as u64,
        };
        output.write(&header.to_bytes())?;
        match token_size(self.vocab_size) {
            2 => output.write_all(&self.tokens, |token| (token as u16).to_le_bytes())?,
            _ => output.write_all(&self.tokens, i32::to_le_bytes)?,
        }
        output.write_all(&suffixes, i32::to_le_bytes)?;
        output.finish()?;
        Ok(())
    }
}

/// Hashes what it writes.
struct Hashed<'a, W> {
    output: &'a mut W,
    hash: Xxh3,
}

impl<'a, W: Write> Hashed<'a, W> {
    fn new(output: &'a mut W) -> Self {
        let hash = Xxh3::new();
        Self { output, hash }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.output.write_all(bytes)
    }

    fn write_all<const N: usize>(
        &mut self,
        numbers: &[i32],
        encode: impl Fn(i32) -> [u8; N],
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK);
        for chunk in numbers.chunks(CHUNK / N) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|&number| encode(number)));
            self.write(&bytes)?;
        }
        Ok(())
    }

    /// Writes the hash of all before it.
    fn finish(self) -> io::Result<()> {
        self.output.write_all(&self.hash.digest().to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let error = SuffixArrayBuilder::new(MAX_VOCAB_SIZE + 1, 7).unwrap_err();
        assert!(matches!(error, BuildError::VocabSize(size) if size == MAX_VOCAB_SIZE + 1));
        let mut builder = SuffixArrayBuilder::new(100, 7).unwrap();
        let error = builder.push_document(&[1, 100]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "corpus: token 100 in a vocabulary of 100"
        );
        assert_eq!(builder.num_tokens(), 0, "no half of a document is kept");
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut builder = SuffixArrayBuilder::new(100, 7).unwrap();
        builder.push_document(&[1, 2, 3]).unwrap();
        let error = builder.write(&mut [0; 50].as_mut_slice()).unwrap_err();
        assert!(matches!(error, BuildError::Write(_)), "{error}");
    }
}
