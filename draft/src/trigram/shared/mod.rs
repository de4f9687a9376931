//! The shared overlay: what followed two tokens, or one, in what all requests were answered, kept beyond the process.

mod file;
mod rows;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use foretoken_model::Token;

use crate::file_head::Vocabulary;
pub use file::SharedOverlayError;
pub(crate) use rows::SharedRows;

/// What all requests have taught, in memory, and the file that it comes from and goes to.
#[derive(Debug)]
pub struct SharedOverlay {
    rows: SharedRows,
    path: PathBuf,
    vocabulary: Vocabulary,
}

impl SharedOverlay {
    /// Reads what an earlier process has saved, as much of the latest of it as `max_bytes` of memory hold. Where there
    /// is no file, an empty one is made, so that it shows now whether it can be.
    ///
    /// A file that is something else, damaged or another model's is an error and stays as it is: it is not for a server
    /// to overwrite.
    pub fn open(
        path: PathBuf,
        max_bytes: usize,
        vocab_size: usize,
        fingerprint: u64,
    ) -> Result<Self, SharedOverlayError> {
        let mut overlay = Self {
            rows: SharedRows::new(max_bytes),
            path,
            vocabulary: Vocabulary::new(vocab_size, fingerprint),
        };
        match fs::read(&overlay.path) {
            Ok(bytes) => file::decode(&bytes, overlay.vocabulary, &mut overlay.rows)?,
            Err(error) if error.kind() == ErrorKind::NotFound => overlay.save()?,
            Err(error) => return Err(error.into()),
        }
        Ok(overlay)
    }

    /// Saves it: a process that dies meanwhile leaves what was saved before.
    pub fn save(&self) -> Result<(), SharedOverlayError> {
        let bytes = file::encode(&self.rows, self.vocabulary);
        Ok(file::replace(&self.path, &bytes)?)
    }

    /// Learns what is said behind the first `num_prompt_tokens`.
    pub(super) fn learn(&mut self, tokens: &[Token], num_prompt_tokens: usize) {
        self.rows.learn(tokens, num_prompt_tokens);
    }

    /// What it knows.
    pub(super) fn rows(&self) -> &SharedRows {
        &self.rows
    }
}
