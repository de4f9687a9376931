//! A shared overlay's file.
//!
//! ```text
//! "FTO1"   magic and version
//! u32      vocab_size of the model whose tokens these are
//! u64      fingerprint of its tokenizer
//! u64      num_rows
//! rows     u64 suffix, u8 num_successors, and for each u32 token, f32 weight; the latest rows last
//! u64      xxh3 of all before it
//! ```
//!
//! Little-endian throughout. It is small, so all of it is read and checked.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use foretoken_model::Token;
use thiserror::Error;

use super::super::row::{MAX_SUCCESSORS, Row};
use super::super::suffix::Suffix;
use super::rows::SharedRows;
use crate::bytes::array;
use crate::file_head::{CHECKSUM, FileError, Vocabulary, begin, check_kind, check_sealed, seal};

const MAGIC: [u8; 4] = *b"FTO1";
const HEADER: usize = 24;
const SUFFIX: usize = 9;
const SUCCESSOR: usize = 8;

/// Why a shared overlay cannot be read or saved.
#[derive(Debug, Error)]
pub enum SharedOverlayError {
    /// Something else, damaged, or learnt from other tokens.
    #[error(transparent)]
    File(#[from] FileError),
    /// Whole, but not what is written by this program.
    #[error("row {row} of {num_rows} makes no sense")]
    Row {
        /// The first such row.
        row: u64,
        /// As the header promises.
        num_rows: u64,
    },
    /// The system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Rows as a file holds them.
pub(super) fn encode(rows: &SharedRows, vocabulary: Vocabulary) -> Vec<u8> {
    let mut bytes = begin(MAGIC, vocabulary);
    bytes.extend((rows.len() as u64).to_le_bytes());
    for (suffix, successors) in rows.iter() {
        bytes.extend(suffix.to_bits().to_le_bytes());
        bytes.push(successors.len() as u8);
        for (token, weight) in successors {
            bytes.extend(token.to_le_bytes());
            bytes.extend(weight.to_le_bytes());
        }
    }
    seal(bytes)
}

/// Puts the rows of a file to `rows`.
pub(super) fn decode(
    bytes: &[u8],
    expected: Vocabulary,
    rows: &mut SharedRows,
) -> Result<(), SharedOverlayError> {
    check_kind(bytes, MAGIC, HEADER + CHECKSUM)?;
    check_sealed(bytes)?;
    Vocabulary::read(bytes).check(expected)?;
    let num_rows = u64::from_le_bytes(array(bytes, 16));
    let mut rest = &bytes[HEADER..bytes.len() - CHECKSUM];
    for row in 0..num_rows {
        let read = decode_row(&mut rest, expected.size);
        let (suffix, successors) = read.ok_or(SharedOverlayError::Row { row, num_rows })?;
        rows.put(suffix, successors);
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(SharedOverlayError::Row {
            row: num_rows,
            num_rows,
        }),
    }
}

/// Reads a row and goes on behind it.
fn decode_row(rest: &mut &[u8], vocab_size: Token) -> Option<(Suffix, Row)> {
    let head = rest.split_off(..SUFFIX)?;
    let suffix = Suffix::from_bits(u64::from_le_bytes(array(head, 0)));
    let len = usize::from(head[SUFFIX - 1]);
    let successors = rest
        .split_off(..len * SUCCESSOR)?
        .as_chunks::<SUCCESSOR>()
        .0;
    let successors: Vec<(Token, f32)> = (successors.iter())
        .map(|bytes| {
            let weight = f32::from_le_bytes(array(bytes, 4));
            (Token::from_le_bytes(array(bytes, 0)), weight)
        })
        .collect();
    let makes_sense = |&(token, weight): &(Token, f32)| {
        let once = successors.iter().filter(|other| other.0 == token).count() == 1;
        once && token < vocab_size && (0.0..=MAX_WEIGHT).contains(&weight)
    };
    let is_row = len <= MAX_SUCCESSORS && successors.iter().all(makes_sense);
    is_row.then(|| (suffix, Row::of(&successors)))
}

/// More than any row comes to.
const MAX_WEIGHT: f32 = 1e6;

/// Writes a file so that at any time the old one or the new one is there and whole, whatever happens.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    // The name, too, is safe then. Where folders cannot be opened, as on Windows, that is the system's part.
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        folder.sync_all()?;
    }
    Ok(())
}
