//! The static table: what followed two tokens, or one, in a corpus.
//!
//! The file, little-endian throughout, is read in place:
//!
//! ```text
//! "FTT2"   magic and version
//! u32      vocab_size of the model whose tokens these are
//! u64      fingerprint of its tokenizer
//! u32      num_rows
//! u32      num_successors
//! u64      tri-grams counted in the corpus
//! u64      those of them that are kept
//! u64      xxh3 of the sections
//! u64      xxh3 of all before it
//! [u32]    starts: first row of each first token, of the rows without one, and num_rows: vocab_size + 2 numbers
//! [u32]    lasts, of each first token ascending: the suffix's last token; 2^32 - 1 for the empty suffix
//! [u32]    ends: row i holds the successors from the end of row i - 1 up to its own
//! [u32]    successors, in a row best first: token << 8 | code
//! ```
//!
//! A successor's chance is exp(-code / 24): within 2 %, down to e^-10.6. It is its count / (total + distinct) of its
//! row (Witten and Bell). What the chances of a row leave of 1 belongs to the next shorter suffix.
//!
//! Opening a table reads its header alone, so that a large one costs no time at start; what lies behind is bounds-checked
//! wherever it is read, and damage there makes bad guesses, nothing worse. [`StaticTable::verify`] reads it all.

mod header;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;

use foretoken_model::Token;
use xxhash_rust::xxh3::xxh3_64;

use super::suffix::Suffix;
use crate::file_head::{FileError, Vocabulary, check_content};
pub(crate) use header::{HEADER, Header, WORD, file_size, num_starts};

/// Tokens are stored in 24 bits.
pub(crate) const MAX_VOCAB_SIZE: usize = 1 << 24;

/// Codes per nat of a chance.
const CODES: f32 = 24.0;

/// A table that [`TableBuilder`](super::TableBuilder) wrote, in a mapped file or in the binary itself.
pub struct StaticTable {
    bytes: Box<dyn Deref<Target = [u8]> + Send + Sync>,
    header: Header,
    /// By code.
    chances: [f32; 256],
}

impl StaticTable {
    /// What a file starts with.
    pub const MAGIC: [u8; 4] = header::MAGIC;

    /// Reads `bytes` in place. `vocab_size` is that of the model that is served, `fingerprint` that of its tokenizer.
    pub fn new(
        bytes: impl Deref<Target = [u8]> + Send + Sync + 'static,
        vocab_size: usize,
        fingerprint: u64,
    ) -> Result<Self, FileError> {
        let table = Self::open(bytes)?;
        let expected = Vocabulary::new(vocab_size, fingerprint);
        table.header.vocabulary.check(expected)?;
        Ok(table)
    }

    /// Reads `bytes` in place, whichever model they are for.
    pub fn open(
        bytes: impl Deref<Target = [u8]> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        Ok(Self {
            header: Header::read(&bytes)?,
            bytes: Box::new(bytes),
            chances: std::array::from_fn(|code| (-(code as f32) / CODES).exp()),
        })
    }

    /// Reads all of it and compares with what was written.
    pub fn verify(&self) -> Result<(), FileError> {
        check_content(xxh3_64(&self.bytes[HEADER..]), self.header.content)
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.header.vocabulary.size as usize
    }

    /// Names the tokenizer.
    pub fn fingerprint(&self) -> u64 {
        self.header.vocabulary.fingerprint
    }

    /// Rows of two tokens, of one, and of none.
    pub fn num_rows(&self) -> usize {
        self.header.num_rows as usize
    }

    /// Rows of two tokens.
    pub fn num_pair_rows(&self) -> usize {
        let sections = Sections::of(&self.bytes, &self.header);
        sections.start(self.vocab_size()).min(self.num_rows())
    }

    /// Successors in all rows.
    pub fn num_successors(&self) -> usize {
        self.header.num_successors as usize
    }

    /// Bytes of the file.
    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Tri-grams of the corpus, each as often as it occurs, and how many of those the table holds.
    pub fn coverage(&self) -> (u64, u64) {
        (self.header.num_counted, self.header.num_kept)
    }

    /// What followed the longest suffix of `text` that has a row, with the suffix's length, best first, with chances.
    pub fn after(&self, text: &[Token]) -> (usize, Vec<(Token, f32)>) {
        for suffix in Suffix::all(text) {
            let successors: Vec<_> = self.successors(suffix).collect();
            if !successors.is_empty() {
                return (suffix.tokens().iter().flatten().count(), successors);
            }
        }
        (0, Vec::new())
    }

    /// What followed two tokens, best first, with chances; nothing if they are not in the table.
    pub fn after_pair(&self, a: Token, b: Token) -> impl Iterator<Item = (Token, f32)> {
        self.successors(Suffix::pair(a, b))
    }

    /// What followed `suffix`, best first, with chances; nothing if it is not in the table.
    pub(crate) fn successors(&self, suffix: Suffix) -> impl Iterator<Item = (Token, f32)> {
        Sections::of(&self.bytes, &self.header)
            .row(suffix, self.header.vocabulary.size)
            .iter()
            .map(|&successor| u32::from_le_bytes(successor))
            .map(|successor| (successor >> 8, self.chances[successor as usize & 0xff]))
            .filter(|&(token, _)| token < self.header.vocabulary.size)
    }
}

impl fmt::Debug for StaticTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTable")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// A number as it is stored.
type Word = [u8; WORD];

/// What follows the header.
struct Sections<'a> {
    starts: &'a [Word],
    lasts: &'a [Word],
    ends: &'a [Word],
    successors: &'a [Word],
}

impl<'a> Sections<'a> {
    /// The sections of bytes whose length the header was compared with.
    fn of(bytes: &'a [u8], header: &Header) -> Self {
        let words = bytes[HEADER..].as_chunks().0;
        let (starts, words) = words.split_at(num_starts(header.vocabulary.size));
        let (lasts, words) = words.split_at(header.num_rows as usize);
        let (ends, successors) = words.split_at(header.num_rows as usize);
        Self {
            starts,
            lasts,
            ends,
            successors,
        }
    }

    /// The row of a suffix; empty where the numbers make no sense, since damage shows only when all is verified.
    fn row(&self, suffix: Suffix, vocab_size: Token) -> &'a [Word] {
        let [first, last] = suffix.tokens();
        let first = match first {
            Some(first) if first >= vocab_size => return &[],
            first => first.unwrap_or(vocab_size) as usize,
        };
        let start = self.start(first);
        let Some(lasts) = self.lasts.get(start..self.start(first + 1)) else {
            return &[];
        };
        let last = last.unwrap_or(Token::MAX);
        let Ok(place) = lasts.binary_search_by_key(&last, |&word| Token::from_le_bytes(word))
        else {
            return &[];
        };
        let row = start + place;
        let begin = row
            .checked_sub(1)
            .map_or(0, |before| number(self.ends, before));
        self.successors
            .get(begin..number(self.ends, row))
            .unwrap_or(&[])
    }

    /// The first row of a first token.
    fn start(&self, first: usize) -> usize {
        number(self.starts, first)
    }
}

fn number(words: &[Word], index: usize) -> usize {
    u32::from_le_bytes(words[index]) as usize
}

/// A successor as it is stored; `token` is below [`MAX_VOCAB_SIZE`].
pub(crate) fn pack(token: Token, chance: f32) -> u32 {
    let code = (-chance.ln() * CODES).round().clamp(0.0, 255.0) as u32;
    token << 8 | code
}
