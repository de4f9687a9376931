//! The static table: what followed two tokens, or one, in a corpus.
//!
//! The file, little-endian throughout, is read in place:
//!
//! ```text
//! "FTT1"   magic and version
//! u32      vocab_size of the model whose tokens these are
//! u64      fingerprint of its tokenizer
//! u32      num_rows
//! u32      num_successors
//! [u64]    keys, ascending: a << 32 | b for two tokens; a = 2^32 - 1 for one; all ones for the empty suffix
//! [u32]    ends: row i holds the successors from the end of row i - 1 up to its own
//! [u32]    successors, in a row best first: token << 8 | code
//! u64      xxh3 of all before it
//! ```
//!
//! A successor's chance is exp(-code / 24): within 2 %, down to e^-10.6. It is its count / (total + distinct) of its
//! row (Witten and Bell). What the chances of a row leave of 1 belongs to the next shorter suffix.

use std::fmt;
use std::ops::Deref;

use foretoken_model::Token;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::suffix::Suffix;

/// What a file starts with.
pub(crate) const MAGIC: [u8; 4] = *b"FTT1";

/// Tokens are stored in 24 bits.
pub(crate) const MAX_VOCAB_SIZE: usize = 1 << 24;

/// Codes per nat of a chance.
const CODES: f32 = 24.0;

const HEADER: usize = 24;
const CHECKSUM: usize = 8;
const KEY: usize = 8;
const END: usize = 4;
const SUCCESSOR: usize = 4;

/// A table that [`TableBuilder`](super::TableBuilder) wrote, in a mapped file or in the binary itself.
pub struct StaticTable {
    bytes: Box<dyn Deref<Target = [u8]> + Send>,
    vocab_size: Token,
    num_rows: usize,
    num_successors: usize,
    /// By code.
    chances: [f32; 256],
}

/// Why bytes are not the table that is wanted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TableError {
    /// Shorter than any table.
    #[error("trigram table: {found} bytes, where header and checksum alone take {}", HEADER + CHECKSUM)]
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
    /// Damaged.
    #[error("trigram table: its bytes hash to {found:#018x}, not to {expected:#018x}")]
    Checksum {
        /// What the bytes hash to.
        found: u64,
        /// What the file says.
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

impl StaticTable {
    /// Reads `bytes` in place. `vocab_size` is that of the model that is served, `fingerprint` that of its tokenizer.
    pub fn new(
        bytes: impl Deref<Target = [u8]> + Send + 'static,
        vocab_size: usize,
        fingerprint: u64,
    ) -> Result<Self, TableError> {
        let header = Header::read(&bytes)?;
        let found = (header.vocab_size, header.fingerprint);
        if (found.0 as usize, found.1) != (vocab_size, fingerprint) {
            let expected = (vocab_size, fingerprint);
            return Err(TableError::Vocabulary { found, expected });
        }
        Ok(Self {
            bytes: Box::new(bytes),
            vocab_size: header.vocab_size,
            num_rows: header.num_rows as usize,
            num_successors: header.num_successors as usize,
            chances: std::array::from_fn(|code| (-(code as f32) / CODES).exp()),
        })
    }

    /// Rows of two tokens, of one, and of none.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Successors in all rows.
    pub fn num_successors(&self) -> usize {
        self.num_successors
    }

    /// What followed `suffix`, best first, with chances; nothing if it is not in the table.
    pub(crate) fn successors(&self, suffix: Suffix) -> impl Iterator<Item = (Token, f32)> {
        self.row(suffix)
            .iter()
            .map(|&successor| u32::from_le_bytes(successor))
            .map(|successor| (successor >> 8, self.chances[successor as usize & 0xff]))
            .filter(|&(token, _)| token < self.vocab_size)
    }

    /// The row of a suffix; empty where the ends make no sense, since a checksum can be forged.
    fn row(&self, suffix: Suffix) -> &[[u8; SUCCESSOR]] {
        let (keys, rest) = self.bytes[HEADER..].split_at(self.num_rows * KEY);
        let (ends, rest) = rest.split_at(self.num_rows * END);
        let (keys, ends) = (keys.as_chunks().0, ends.as_chunks().0);
        let successors = &rest.as_chunks().0[..self.num_successors];
        let key = |bytes: &[u8; KEY]| u64::from_le_bytes(*bytes);
        let Ok(row) = keys.binary_search_by_key(&suffix.to_bits(), key) else {
            return &[];
        };
        let end = |row: usize| u32::from_le_bytes(ends[row]) as usize;
        let start = row.checked_sub(1).map_or(0, end);
        successors.get(start..end(row)).unwrap_or(&[])
    }
}

impl fmt::Debug for StaticTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTable")
            .field("vocab_size", &self.vocab_size)
            .field("num_rows", &self.num_rows)
            .field("num_successors", &self.num_successors)
            .finish_non_exhaustive()
    }
}

/// What a file says of itself.
struct Header {
    vocab_size: u32,
    fingerprint: u64,
    num_rows: u32,
    num_successors: u32,
}

impl Header {
    /// Checks the whole file: its length is what the header promises, its bytes what was written.
    fn read(bytes: &[u8]) -> Result<Self, TableError> {
        let found = bytes.len();
        if found < HEADER + CHECKSUM {
            return Err(TableError::Short { found });
        }
        let magic = array(bytes, 0);
        if magic != MAGIC {
            return Err(TableError::Magic { found: magic });
        }
        let header = Self {
            vocab_size: u32::from_le_bytes(array(bytes, 4)),
            fingerprint: u64::from_le_bytes(array(bytes, 8)),
            num_rows: u32::from_le_bytes(array(bytes, 16)),
            num_successors: u32::from_le_bytes(array(bytes, 20)),
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
        let (content, checksum) = bytes.split_at(found - CHECKSUM);
        let found = xxh3_64(content);
        let expected = u64::from_le_bytes(array(checksum, 0));
        if found != expected {
            return Err(TableError::Checksum { found, expected });
        }
        Ok(header)
    }

    fn file_size(&self) -> u64 {
        (HEADER + CHECKSUM) as u64
            + u64::from(self.num_rows) * (KEY + END) as u64
            + u64::from(self.num_successors) * SUCCESSOR as u64
    }
}

/// A successor as it is stored; `token` is below [`MAX_VOCAB_SIZE`].
pub(crate) fn pack(token: Token, chance: f32) -> u32 {
    let code = (-chance.ln() * CODES).round().clamp(0.0, 255.0) as u32;
    token << 8 | code
}

/// The N bytes from `at` on; the caller has checked that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with a valid checksum, whatever else it says.
    fn file(num_rows: u32, num_successors: u32, sections: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(10_u32.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(num_rows.to_le_bytes());
        bytes.extend(num_successors.to_le_bytes());
        bytes.extend(sections);
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn sections(keys: &[Suffix], ends: &[u32], successors: &[u32]) -> Vec<u8> {
        let keys = keys.iter().flat_map(|key| key.to_bits().to_le_bytes());
        let others = ends
            .iter()
            .chain(successors)
            .flat_map(|word| word.to_le_bytes());
        keys.chain(others).collect()
    }

    fn row(table: &StaticTable, suffix: Suffix) -> Vec<(Token, f32)> {
        table.successors(suffix).collect()
    }

    #[test]
    fn a_row_is_found_by_its_suffix() {
        let keys = [Suffix::pair(1, 2), Suffix::single(2), Suffix::EMPTY];
        let successors = [pack(3, 0.5), pack(4, 0.25), pack(5, 1.0), pack(12, 0.5)];
        let bytes = file(3, 4, &sections(&keys, &[2, 3, 4], &successors));
        let table = StaticTable::new(bytes, 10, 7).unwrap();
        let pair = row(&table, Suffix::pair(1, 2));
        assert_eq!(pair.iter().map(|entry| entry.0).collect::<Vec<_>>(), [3, 4]);
        assert!(
            (pair[0].1 - 0.5).abs() < 0.01 && (pair[1].1 - 0.25).abs() < 0.01,
            "{pair:?}"
        );
        assert_eq!(row(&table, Suffix::single(2)), [(5, 1.0)]);
        assert_eq!(row(&table, Suffix::EMPTY), [], "no token of the vocabulary");
        assert_eq!(row(&table, Suffix::pair(2, 1)), []);
        assert_eq!(row(&table, Suffix::single(1)), []);
    }

    #[test]
    fn ends_that_make_no_sense_give_empty_rows() {
        let keys = [Suffix::pair(1, 2), Suffix::pair(1, 3), Suffix::pair(1, 4)];
        let bytes = file(3, 1, &sections(&keys, &[u32::MAX, 0, 1], &[pack(3, 0.5)]));
        let table = StaticTable::new(bytes, 10, 7).unwrap();
        assert_eq!(row(&table, keys[0]), []);
        assert_eq!(row(&table, keys[1]), []);
        assert_eq!(row(&table, keys[2]).len(), 1);
    }

    #[test]
    fn what_is_not_the_table_is_refused_with_its_numbers() {
        let good = file(1, 1, &sections(&[Suffix::EMPTY], &[1], &[pack(3, 0.5)]));
        let refused = |bytes: Vec<u8>| StaticTable::new(bytes, 10, 7).unwrap_err();
        assert_eq!(
            refused(good[..31].to_vec()),
            TableError::Short { found: 31 }
        );
        let other = [b"FTT2", &good[4..]].concat();
        assert_eq!(refused(other), TableError::Magic { found: *b"FTT2" });
        let cut = good[..good.len() - 1].to_vec();
        let length = TableError::Length {
            found: 47,
            expected: 48,
            num_rows: 1,
            num_successors: 1,
        };
        assert_eq!(refused(cut), length);
        for index in 24..good.len() {
            let mut damaged = good.clone();
            damaged[index] ^= 1;
            assert!(
                matches!(refused(damaged), TableError::Checksum { .. }),
                "byte {index}"
            );
        }
        let found = (10, 7);
        for expected in [(11, 7), (10, 8)] {
            let error = StaticTable::new(good.clone(), expected.0, expected.1).unwrap_err();
            assert_eq!(error, TableError::Vocabulary { found, expected });
        }
        assert!(StaticTable::new(good, 10, 7).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), valid in 0..5_usize) {
            let start: Vec<u8> = MAGIC.into_iter().take(valid).chain(bytes).collect();
            prop_assert!(StaticTable::new(start, 10, 7).is_err());
        }

        #[test]
        fn a_forged_table_never_panics(
            rows in 0..8_u32,
            successors in 0..8_u32,
            noise in prop::collection::vec(any::<u8>(), 128),
            a in any::<Token>(),
        ) {
            let len = rows as usize * (KEY + END) + successors as usize * SUCCESSOR;
            let table = StaticTable::new(file(rows, successors, &noise[..len]), 10, 7).unwrap();
            for suffix in Suffix::all(&[a, a]) {
                prop_assert!(table.successors(suffix).all(|(token, _)| token < 10));
            }
            for key in noise[..rows as usize * KEY].as_chunks::<KEY>().0 {
                let [low, high] = [array(key, 0), array(key, 4)].map(Token::from_le_bytes);
                prop_assert!(table.successors(Suffix::pair(high, low)).all(|(token, _)| token < 10));
            }
        }
    }
}
