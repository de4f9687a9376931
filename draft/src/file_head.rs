//! How the drafters' files begin, and why one may be refused.
//!
//! ```text
//! [u8; 4]  magic and version
//! u32      vocab_size of the model whose tokens these are
//! u64      fingerprint of its tokenizer
//! ```
//!
//! Little-endian throughout. A file that is mapped and not read goes on with numbers of its own and then xxh3 of all of
//! this, so that its head can be believed.

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::array;

/// Bytes of a checksum.
pub(crate) const CHECKSUM: usize = 8;

/// Why bytes are not the file that is wanted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FileError {
    /// Shorter than any such file.
    #[error("{found} bytes, where the least that such a file takes is {least}")]
    Short {
        /// Bytes there are.
        found: usize,
        /// Bytes there are at least.
        least: usize,
    },
    /// Something else, or another version.
    #[error("it starts with {found:02x?}, not with {expected:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 4],
        /// What they should be.
        expected: [u8; 4],
    },
    /// The head is damaged.
    #[error("its header hashes to {found:#018x}, not to {expected:#018x}")]
    Header {
        /// What the head hashes to.
        found: u64,
        /// What it says itself.
        expected: u64,
    },
    /// Cut off, or with something behind it.
    #[error("{found} bytes, where {promised} take {expected}")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        expected: u128,
        /// What the head promises, in words.
        promised: String,
    },
    /// More tokens than can be named.
    #[error("{num_tokens} tokens, where 2^32 - 1 can be read")]
    Size {
        /// Tokens that the head promises.
        num_tokens: u64,
    },
    /// Damaged.
    #[error("its content hashes to {found:#018x}, not to {expected:#018x}")]
    Content {
        /// What the bytes hash to.
        found: u64,
        /// What the file says.
        expected: u64,
    },
    /// Of other tokens.
    #[error("made for {found}, not for {expected}")]
    Vocabulary {
        /// Those that it is made for.
        found: Vocabulary,
        /// Those that are wanted.
        expected: Vocabulary,
    },
}

/// Whose tokens a file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vocabulary {
    /// The model's `vocab_size`.
    pub size: u32,
    /// Its tokenizer's fingerprint.
    pub fingerprint: u64,
}

impl std::fmt::Display for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, fingerprint } = self;
        write!(f, "{size} tokens of tokenizer {fingerprint:#018x}")
    }
}

impl Vocabulary {
    /// That of a model; a size beyond what files can state is none that a file has.
    pub(crate) fn new(size: usize, fingerprint: u64) -> Self {
        Self {
            size: u32::try_from(size).unwrap_or(u32::MAX),
            fingerprint,
        }
    }

    /// Reads that of a file which is long enough to have one.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        Self {
            size: u32::from_le_bytes(array(bytes, 4)),
            fingerprint: u64::from_le_bytes(array(bytes, 8)),
        }
    }

    /// Refuses all but `expected`.
    pub(crate) fn check(self, expected: Self) -> Result<(), FileError> {
        let found = self;
        match found == expected {
            true => Ok(()),
            false => Err(FileError::Vocabulary { found, expected }),
        }
    }
}

/// The beginning of a file.
pub(crate) fn begin(magic: [u8; 4], vocabulary: Vocabulary) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(vocabulary.size.to_le_bytes());
    bytes.extend(vocabulary.fingerprint.to_le_bytes());
    bytes
}

/// Puts a checksum behind all that there is.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

/// Refuses what is no file of this kind, of which the shortest has `least` bytes.
pub(crate) fn check_kind(bytes: &[u8], magic: [u8; 4], least: usize) -> Result<(), FileError> {
    let found = bytes.len();
    if found < least {
        return Err(FileError::Short { found, least });
    }
    let (found, expected) = (array(bytes, 0), magic);
    match found == expected {
        true => Ok(()),
        false => Err(FileError::Magic { found, expected }),
    }
}

/// Refuses a head, checksum included, that is damaged.
pub(crate) fn check_head(head: &[u8]) -> Result<(), FileError> {
    let (found, expected) = hashes(head);
    match found == expected {
        true => Ok(()),
        false => Err(FileError::Header { found, expected }),
    }
}

/// Refuses a sealed file that is damaged.
pub(crate) fn check_sealed(bytes: &[u8]) -> Result<(), FileError> {
    let (found, expected) = hashes(bytes);
    check_content(found, expected)
}

/// Refuses content that hashes to something else than it did.
pub(crate) fn check_content(found: u64, expected: u64) -> Result<(), FileError> {
    match found == expected {
        true => Ok(()),
        false => Err(FileError::Content { found, expected }),
    }
}

/// What sealed bytes hash to, and what they say themselves.
fn hashes(sealed: &[u8]) -> (u64, u64) {
    let (content, checksum) = sealed.split_at(sealed.len() - CHECKSUM);
    (xxh3_64(content), u64::from_le_bytes(array(checksum, 0)))
}
