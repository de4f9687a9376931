//! What a table's file says of itself, and why it may be refused.

use foretoken_model::Token;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::array;

/// What a file starts with.
pub(crate) const MAGIC: [u8; 4] = *b"FTT2";

/// Bytes before the sections.
pub(crate) const HEADER: usize = 56;

/// Bytes of a row beside its successors: the suffix's last token and the row's end.
pub(crate) const ROW: usize = 8;

/// Bytes of a successor, and of any other number in the sections.
pub(crate) const WORD: usize = 4;

/// Where the header's own checksum stands.
const CHECKSUM: usize = HEADER - 8;

/// Why bytes are not the table that is wanted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TableError {
    /// Shorter than any table.
    #[error("trigram table: {found} bytes, where the header alone takes {HEADER}")]
    Short {
        /// Bytes there are.
        found: usize,
    },
    /// Something else, or another version.
    #[error("trigram table: it starts with {found:02x?}, not with {MAGIC:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
    },
    /// The header is damaged.
    #[error("trigram table: its header hashes to {found:#018x}, not to {expected:#018x}")]
    Header {
        /// What the header hashes to.
        found: u64,
        /// What it says itself.
        expected: u64,
    },
    /// Cut off, or with something behind it.
    #[error(
        "trigram table: {found} bytes, where {num_rows} rows and {num_successors} successors take {expected}"
    )]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        expected: u64,
        /// Rows that the header promises.
        num_rows: u32,
        /// Successors that the header promises.
        num_successors: u32,
    },
    /// What follows the header is damaged.
    #[error("trigram table: its content hashes to {found:#018x}, not to {expected:#018x}")]
    Content {
        /// What the content hashes to.
        found: u64,
        /// What the header says.
        expected: u64,
    },
    /// Built for other tokens.
    #[error(
        "trigram table: built for {} tokens of tokenizer {:#018x}, not for {} of {:#018x}",
        found.0, found.1, expected.0, expected.1
    )]
    Vocabulary {
        /// The table's `vocab_size` and fingerprint.
        found: (u32, u64),
        /// Those that are wanted.
        expected: (usize, u64),
    },
}

/// The first bytes of a file, read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) vocab_size: Token,
    pub(crate) fingerprint: u64,
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
    pub(super) fn read(bytes: &[u8]) -> Result<Self, TableError> {
        let found = bytes.len();
        if found < HEADER {
            return Err(TableError::Short { found });
        }
        let magic = array(bytes, 0);
        if magic != MAGIC {
            return Err(TableError::Magic { found: magic });
        }
        let long = |at| u64::from_le_bytes(array(bytes, at));
        let (hash, expected) = (xxh3_64(&bytes[..CHECKSUM]), long(CHECKSUM));
        if hash != expected {
            let found = hash;
            return Err(TableError::Header { found, expected });
        }
        let header = Self {
            vocab_size: u32::from_le_bytes(array(bytes, 4)),
            fingerprint: long(8),
            num_rows: u32::from_le_bytes(array(bytes, 16)),
            num_successors: u32::from_le_bytes(array(bytes, 20)),
            num_counted: long(24),
            num_kept: long(32),
            content: long(40),
        };
        let expected = header.file_size();
        if found as u64 != expected {
            return Err(TableError::Length {
                found,
                expected,
                num_rows: header.num_rows,
                num_successors: header.num_successors,
            });
        }
        Ok(header)
    }

    /// As it is stored, checksum included.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.vocab_size.to_le_bytes());
        bytes.extend(self.fingerprint.to_le_bytes());
        bytes.extend(self.num_rows.to_le_bytes());
        bytes.extend(self.num_successors.to_le_bytes());
        for long in [self.num_counted, self.num_kept, self.content] {
            bytes.extend(long.to_le_bytes());
        }
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// Bytes of a file with this header.
    pub(crate) fn file_size(&self) -> u64 {
        file_size(
            self.vocab_size,
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
