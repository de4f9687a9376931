//! Builds a corpus by way of the disk: a build that was cut off goes on.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use foretoken_model::Token;

use super::{BuildError, SuffixArrayBuilder};
use crate::parts::{Parts, PartsError};

/// Tokens that are put on the disk at a time: what is lost if the build is cut off.
const PART: usize = 1 << 20;

/// Bytes of a token in a part.
const TOKEN: usize = 4;

/// A [`SuffixArrayBuilder`] that leaves what it was given in a folder until it has written its file.
///
/// Reading texts and making tokens of them is what takes time, and is what is not done again. Sorting is: it takes a
/// tenth of a second for each million tokens.
#[derive(Debug)]
pub struct CorpusBuilder {
    builder: SuffixArrayBuilder,
    parts: Parts,
    num_documents: u64,
    /// Of the builder's tokens, those that parts hold.
    num_safe: usize,
    /// As [`PART`].
    part: usize,
}

impl CorpusBuilder {
    /// A builder for a model's `vocab_size` and its tokenizer's fingerprint. If a build of the same `identity`, which
    /// names documents and options, was cut off in `folder`, it goes on: see [`num_documents`](Self::num_documents).
    pub fn open(
        vocab_size: usize,
        fingerprint: u64,
        folder: PathBuf,
        identity: u64,
    ) -> Result<Self, BuildError> {
        let mut builder = SuffixArrayBuilder::new(vocab_size, fingerprint)?;
        let parts = Parts::open(folder, identity)?;
        for file in parts.files() {
            let bytes = fs::read(&file).map_err(PartsError::io(&file))?;
            let tokens = bytes.as_chunks::<TOKEN>().0.iter();
            let tokens: Vec<Token> = tokens.map(|&token| Token::from_le_bytes(token)).collect();
            // A separator ends each document, the part's last one too.
            for document in tokens.split_inclusive(|&token| token as usize == vocab_size) {
                builder.push_document(&document[..document.len() - 1])?;
            }
        }
        Ok(Self {
            num_documents: parts.learnt().0,
            num_safe: builder.num_tokens(),
            builder,
            parts,
            part: PART,
        })
    }

    /// Documents that were learnt. A build that goes on expects those after them next.
    pub fn num_documents(&self) -> u64 {
        self.num_documents
    }

    /// Tokens of these documents.
    pub fn num_tokens(&self) -> u64 {
        self.builder.num_tokens() as u64 - self.num_documents
    }

    /// Adds one document. Nothing is matched or continued across two.
    pub fn learn(&mut self, document: &[Token]) -> Result<(), BuildError> {
        self.builder.push_document(document)?;
        self.num_documents += 1;
        if self.builder.num_tokens() - self.num_safe >= self.part {
            let learnt = (self.num_documents, self.num_tokens());
            let new = &self.builder.tokens()[self.num_safe..];
            self.parts.add(learnt, |path| write(path, new))?;
            self.num_safe = self.builder.num_tokens();
        }
        Ok(())
    }

    /// Sorts, and writes the corpus. It stands under its name when it is whole; then the folder is removed.
    pub fn write(self, output: &Path) -> Result<(), BuildError> {
        let builder = self.builder;
        self.parts.finish(output, |path| {
            let file = File::create(path).map_err(PartsError::io(path))?;
            let mut file = BufWriter::new(file);
            builder.write(&mut file)?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            Ok(file.sync_all()?)
        })
    }
}

fn write(path: &Path, tokens: &[i32]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for token in tokens {
        file.write_all(&token.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::super::corpus::tests::file;
    use super::*;

    fn documents() -> Vec<Vec<Token>> {
        (0..50)
            .map(|first| (first..first + first % 9).collect())
            .collect()
    }

    fn open(folder: &Path, identity: u64) -> Result<CorpusBuilder, BuildError> {
        let builder = CorpusBuilder::open(100, 7, folder.join("parts"), identity)?;
        Ok(CorpusBuilder {
            part: 20,
            ..builder
        })
    }

    #[test]
    fn a_build_that_was_cut_off_goes_on() {
        let (folder, documents) = (TempDir::new().unwrap(), documents());
        let output = folder.path().join("corpus.fts");
        // Each run of the program takes fifteen more documents than the last one left safe.
        let mut starts = Vec::new();
        loop {
            let mut builder = open(folder.path(), 1).unwrap();
            let learnt = builder.num_documents() as usize;
            starts.push(learnt);
            let num_tokens: usize = documents[..learnt].iter().map(Vec::len).sum();
            assert_eq!(builder.num_tokens(), num_tokens as u64);
            for document in documents.iter().skip(learnt).take(15) {
                builder.learn(document).unwrap();
            }
            if builder.num_documents() as usize == documents.len() {
                builder.write(&output).unwrap();
                break;
            }
        }
        assert!(starts.len() > 2 && starts.is_sorted(), "{starts:?}");
        assert_eq!(fs::read(&output).unwrap(), file(100, &documents));
        assert!(!folder.path().join("parts").exists());
    }

    #[test]
    fn another_builds_folder_or_a_damaged_part_is_refused() {
        let folder = TempDir::new().unwrap();
        let mut builder = open(folder.path(), 1).unwrap();
        builder.learn(&[1; 30]).unwrap();
        let error = open(folder.path(), 2).unwrap_err().to_string();
        assert!(error.contains("holds another build"), "{error}");
        let part = folder.path().join("parts/000000.run");
        let good = fs::read(&part).unwrap();
        for (bytes, want) in [
            (
                &good[1..],
                "000000.run has 123 bytes, where 124 were written",
            ),
            (&[7; 124], "token 117901063 in a vocabulary of 100"),
        ] {
            fs::write(&part, bytes).unwrap();
            let error = open(folder.path(), 1).unwrap_err().to_string();
            assert!(error.contains(want), "no `{want}` in {error}");
        }
    }
}
