//! Counts a corpus and writes the static table: by external sorting, so that a corpus of any size takes little memory.

mod count;
mod encode;
mod row;
mod run;
#[cfg(test)]
pub(super) mod tests;

use std::io;
use std::path::{Path, PathBuf};

use foretoken_model::Token;
use thiserror::Error;

use super::table::{Header, MAX_VOCAB_SIZE, file_size};
use crate::file_head::Vocabulary;
use crate::parts::{Parts, PartsError};
use count::Counts;
pub use row::Pruning;
use row::{Row, Rows, Survey};

/// Counts what follows what, 48 bytes for each token until the same ones are put together, then 16 for each kind.
///
/// The file depends on the documents alone, not on their order or on how much memory there was.
#[derive(Debug)]
pub struct TableBuilder {
    vocab_size: u32,
    fingerprint: u64,
    counts: Counts,
    parts: Parts,
    num_documents: u64,
    num_tokens: u64,
}

/// Why a table cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// More tokens than the file can name.
    #[error("trigram table: a vocabulary of {0} tokens, where {MAX_VOCAB_SIZE} can be stored")]
    VocabSize(usize),
    /// A text that is not of this vocabulary.
    #[error("trigram table: token {token} in a vocabulary of {vocab_size}")]
    Token {
        /// The offender.
        token: Token,
        /// Tokens of the vocabulary are below this.
        vocab_size: u32,
    },
    /// More than 32 bits can count.
    #[error(
        "trigram table: {num_rows} rows and {num_successors} successors, where 2^32 - 1 can be stored: prune more"
    )]
    Size {
        /// Rows to be stored.
        num_rows: u64,
        /// Successors to be stored.
        num_successors: u64,
    },
    /// The size that is wanted cannot be reached.
    #[error("trigram table: at most {max_size} bytes are wanted, but {least} is the least")]
    TooLarge {
        /// As asked for.
        max_size: u64,
        /// With everything pruned that can be.
        least: u64,
    },
    /// The build's files.
    #[error(transparent)]
    Parts(#[from] PartsError),
}

/// Runs that are merged into one when there are so many: as many files are open at once.
const MAX_RUNS: usize = 64;

impl TableBuilder {
    /// A builder for a model's `vocab_size` and its tokenizer's fingerprint. It holds counts in `memory` bytes and puts
    /// what goes beyond into `folder`. If a build of the same `identity`, which names corpus and options, was cut off
    /// there, it goes on: see [`num_documents`](Self::num_documents).
    pub fn open(
        vocab_size: usize,
        fingerprint: u64,
        folder: PathBuf,
        identity: u64,
        memory: usize,
    ) -> Result<Self, BuildError> {
        if vocab_size > MAX_VOCAB_SIZE {
            return Err(BuildError::VocabSize(vocab_size));
        }
        let parts = Parts::open(folder, identity)?;
        let (num_documents, num_tokens) = parts.learnt();
        Ok(Self {
            vocab_size: vocab_size as u32,
            fingerprint,
            counts: Counts::with_memory(memory),
            parts,
            num_documents,
            num_tokens,
        })
    }

    /// Documents that were learnt. A build that goes on expects those after them next.
    pub fn num_documents(&self) -> u64 {
        self.num_documents
    }

    /// Tokens of these documents.
    pub fn num_tokens(&self) -> u64 {
        self.num_tokens
    }

    /// Counts one document. Nothing is counted across two.
    pub fn learn(&mut self, document: &[Token]) -> Result<(), BuildError> {
        let vocab_size = self.vocab_size;
        if let Some(&token) = document.iter().find(|&&token| token >= vocab_size) {
            return Err(BuildError::Token { token, vocab_size });
        }
        if !self.counts.has_room(document.len()) {
            self.spill()?;
        }
        self.counts.learn(document);
        self.num_documents += 1;
        self.num_tokens += document.len() as u64;
        Ok(())
    }

    /// Writes the table. It stands under its name when it is whole; then the folder is removed. What was spilled stays
    /// where that fails, so that it may be tried again with another pruning.
    pub fn write(mut self, pruning: Pruning, output: &Path) -> Result<(), BuildError> {
        if self.parts.files().len() > 0 {
            self.spill()?;
        }
        self.counts.fold();
        let (pruning, header) = self.plan(pruning)?;
        self.parts.finish(output, |path| {
            let kept = self.rows()?.filter_map(|row| match row {
                Ok(row) => pruning.keep(row).map(Ok),
                Err(error) => Some(Err(error)),
            });
            encode::write(path, header, kept).map_err(PartsError::io(path))?;
            Ok(())
        })
    }

    /// How much must go for the wanted size, and the header of what is left, as far as it is known before it is written.
    fn plan(&self, pruning: Pruning) -> Result<(Pruning, Header), BuildError> {
        let survey = Survey::of(self.rows()?, &pruning);
        let survey = survey.map_err(PartsError::io(self.parts.folder()))?;
        let size = |rows, successors| file_size(self.vocab_size, rows, successors);
        let max_size = pruning.max_size;
        let (pruning, num_rows, num_successors) = survey
            .prune(pruning, |rows, successors| {
                size(rows, successors) <= max_size
            })
            .map_err(|(rows, successors)| BuildError::TooLarge {
                max_size,
                least: size(rows, successors),
            })?;
        let stored = u32::try_from(num_rows)
            .ok()
            .zip(u32::try_from(num_successors).ok());
        let (num_rows, num_successors) = stored.ok_or(BuildError::Size {
            num_rows,
            num_successors,
        })?;
        let header = Header {
            vocabulary: Vocabulary {
                size: self.vocab_size,
                fingerprint: self.fingerprint,
            },
            num_rows,
            num_successors,
            num_counted: survey.num_counted(),
            num_kept: 0,
            content: 0,
        };
        Ok((pruning, header))
    }

    /// All rows, in the order of their suffixes, of counts that are folded.
    fn rows(&self) -> Result<impl Iterator<Item = io::Result<Row>>, PartsError> {
        let runs = run::read_all(self.parts.files()).and_then(|mut runs| {
            runs.push(Box::new(self.counts.as_slice().iter().copied().map(Ok)));
            run::merge(runs)
        });
        let in_folder = PartsError::io(self.parts.folder());
        Ok(Rows::new(runs.map_err(in_folder)?))
    }

    /// Has all that was learnt lie safely on the disk.
    fn spill(&mut self) -> Result<(), BuildError> {
        if self.counts.is_empty() {
            return Ok(());
        }
        self.counts.fold();
        let learnt = (self.num_documents, self.num_tokens);
        let counts = self.counts.as_slice().iter().copied();
        self.parts
            .add(learnt, |path| run::write(path, counts.map(Ok)))?;
        self.counts.clear();
        if self.parts.files().len() >= MAX_RUNS {
            let files: Vec<PathBuf> = self.parts.files().collect();
            self.parts.replace(|path| {
                let runs = run::read_all(files.into_iter())?;
                run::write(path, run::merge(runs)?)
            })?;
        }
        Ok(())
    }
}
