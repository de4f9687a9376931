//! What a table's file says of itself.

use foretoken_model::Token;

use crate::bytes::array;
use crate::file_head::{FileError, Vocabulary, begin, check_head, check_kind, seal};

/// What a file starts with.
pub(crate) const MAGIC: [u8; 4] = *b"FTT2";

/// Bytes before the sections.
pub(crate) const HEADER: usize = 56;

/// Bytes of a row beside its successors: the suffix's last token and the row's end.
pub(crate) const ROW: usize = 8;

/// Bytes of a successor, and of any other number in the sections.
pub(crate) const WORD: usize = 4;

/// The first bytes of a file, read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) num_rows: u32,
    pub(crate) num_successors: u32,
    /// Tri-grams of the corpus, each as often as it occurs.
    pub(crate) num_counted: u64,
    /// Those of them that the table holds.
    pub(crate) num_kept: u64,
    /// xxh3 of all that follows the header.
    pub(crate) content: u64,
}

impl Header {
    /// Checks the header and that the file is as long as it promises; nothing behind it is looked at.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, FileError> {
        check_kind(bytes, MAGIC, HEADER)?;
        check_head(&bytes[..HEADER])?;
        let long = |at| u64::from_le_bytes(array(bytes, at));
        let header = Self {
            vocabulary: Vocabulary::read(bytes),
            num_rows: u32::from_le_bytes(array(bytes, 16)),
            num_successors: u32::from_le_bytes(array(bytes, 20)),
            num_counted: long(24),
            num_kept: long(32),
            content: long(40),
        };
        let (found, expected) = (bytes.len(), header.file_size());
        if found as u64 != expected {
            let (num_rows, num_successors) = (header.num_rows, header.num_successors);
            return Err(FileError::Length {
                found,
                expected: expected.into(),
                promised: format!("{num_rows} rows and {num_successors} successors"),
            });
        }
        Ok(header)
    }

    /// As it is stored, checksum included.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = begin(MAGIC, self.vocabulary);
        bytes.extend(self.num_rows.to_le_bytes());
        bytes.extend(self.num_successors.to_le_bytes());
        for long in [self.num_counted, self.num_kept, self.content] {
            bytes.extend(long.to_le_bytes());
        }
        seal(bytes)
    }

    /// Bytes of a file with this header.
    pub(crate) fn file_size(&self) -> u64 {
        file_size(
            self.vocabulary.size,
            self.num_rows.into(),
            self.num_successors.into(),
        )
    }
}

/// Bytes of a file with so many rows and successors.
pub(crate) fn file_size(vocab_size: Token, num_rows: u64, num_successors: u64) -> u64 {
    (HEADER + num_starts(vocab_size) * WORD) as u64
        + num_rows * ROW as u64
        + num_successors * WORD as u64
}

/// Numbers in the index: where the rows of each first token start, those without one, and the end.
pub(crate) fn num_starts(vocab_size: Token) -> usize {
    vocab_size as usize + 2
}
