//! Counts a corpus and writes the static table.

use std::cmp::Reverse;

use foretoken_model::Token;
use rustc_hash::FxHashMap;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::suffix::Suffix;
use super::table::{MAGIC, MAX_VOCAB_SIZE, pack};

/// Successors of two tokens that are kept: ADED's number. More were tried and won nothing.
const MAX_PAIR_SUCCESSORS: usize = 12;

/// Successors of one token, or of none, that are kept: many, since where noise is shared the unlikely ones win often.
/// On the carried model at T = 1, 64 instead of 12 had 0.08 tokens more accepted per step of 8 nodes, 0.15 of 32.
const MAX_OTHER_SUCCESSORS: usize = 64;

/// Counts what follows what. All counts are held in memory, some 30 bytes for each distinct tri-gram and bigram.
#[derive(Debug)]
pub struct TableBuilder {
    vocab_size: u32,
    fingerprint: u64,
    counts: FxHashMap<(Suffix, Token), u32>,
}

/// What is left out of a table to keep it small. Leaving out what the shorter suffix says nearly as well (Seymore and
/// Rosenfeld, "Scalable backoff language models", 1996) was tried and did no better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pruning {
    /// How often a successor of two tokens must have been seen.
    pub min_pair_count: u32,
    /// How often a successor of one token, or of none, must have been seen.
    pub min_other_count: u32,
}

/// Why a table cannot be built.
#[derive(Clone, Debug, Error, PartialEq)]
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
        "trigram table: {num_rows} rows and {num_successors} successors, where 2^32 - 1 can be stored"
    )]
    Size {
        /// Rows to be stored.
        num_rows: usize,
        /// Successors to be stored.
        num_successors: usize,
    },
}

/// What followed one suffix.
struct Row {
    suffix: Suffix,
    /// The chance of a count of 1: Witten and Bell leave as much for what was never seen as was once seen for the
    /// first time.
    unit: f32,
    /// Most frequent first, of equals the lower id.
    counts: Vec<(Token, u32)>,
}

impl TableBuilder {
    /// A builder for a model's `vocab_size` and its tokenizer's fingerprint.
    pub fn new(vocab_size: usize, fingerprint: u64) -> Result<Self, BuildError> {
        if vocab_size > MAX_VOCAB_SIZE {
            return Err(BuildError::VocabSize(vocab_size));
        }
        Ok(Self {
            vocab_size: vocab_size as u32,
            fingerprint,
            counts: FxHashMap::default(),
        })
    }

    /// Counts one document. Nothing is counted across two.
    pub fn learn(&mut self, document: &[Token]) -> Result<(), BuildError> {
        let vocab_size = self.vocab_size;
        if let Some(&token) = document.iter().find(|&&token| token >= vocab_size) {
            return Err(BuildError::Token { token, vocab_size });
        }
        for (end, &token) in document.iter().enumerate() {
            for suffix in Suffix::all(&document[..end]) {
                let count = self.counts.entry((suffix, token)).or_default();
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// The file's bytes: the same for the same documents, in whatever order they were learnt.
    pub fn build(&self, pruning: Pruning) -> Result<Vec<u8>, BuildError> {
        let mut rows = self.rows();
        for row in &mut rows {
            let (most, least) = if row.suffix.is_pair() {
                (MAX_PAIR_SUCCESSORS, pruning.min_pair_count)
            } else {
                (MAX_OTHER_SUCCESSORS, pruning.min_other_count)
            };
            row.counts.truncate(most);
            row.counts.retain(|&(_, count)| count >= least);
        }
        rows.retain(|row| !row.counts.is_empty());
        self.encode(&rows)
    }

    /// All rows, in the order of their keys.
    fn rows(&self) -> Vec<Row> {
        let mut counts: Vec<(Suffix, Reverse<u32>, Token)> = self
            .counts
            .iter()
            .map(|(&(suffix, token), &count)| (suffix, Reverse(count), token))
            .collect();
        counts.sort_unstable();
        let rows = counts.chunk_by(|a, b| a.0 == b.0).map(|row| {
            let total: u64 = row
                .iter()
                .map(|&(_, Reverse(count), _)| u64::from(count))
                .sum();
            Row {
                suffix: row[0].0,
                unit: 1.0 / (total as f32 + row.len() as f32),
                counts: row
                    .iter()
                    .map(|&(_, Reverse(count), token)| (token, count))
                    .collect(),
            }
        });
        rows.collect()
    }

    fn encode(&self, rows: &[Row]) -> Result<Vec<u8>, BuildError> {
        let num_rows = rows.len();
        let num_successors = rows.iter().map(|row| row.counts.len()).sum();
        let (Ok(rows_field), Ok(successors_field)) =
            (u32::try_from(num_rows), u32::try_from(num_successors))
        else {
            return Err(BuildError::Size {
                num_rows,
                num_successors,
            });
        };
        let mut file = MAGIC.to_vec();
        file.extend(self.vocab_size.to_le_bytes());
        file.extend(self.fingerprint.to_le_bytes());
        file.extend(rows_field.to_le_bytes());
        file.extend(successors_field.to_le_bytes());
        file.extend(
            rows.iter()
                .flat_map(|row| row.suffix.to_bits().to_le_bytes()),
        );
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.counts.len() as u32;
            Some(*end)
        });
        file.extend(ends.flat_map(u32::to_le_bytes));
        for Row { unit, counts, .. } in rows {
            let chance = |count: u32| count as f32 * unit;
            file.extend(
                counts
                    .iter()
                    .flat_map(|&(token, count)| pack(token, chance(count)).to_le_bytes()),
            );
        }
        let checksum = xxh3_64(&file);
        file.extend(checksum.to_le_bytes());
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trigram::StaticTable;

    const ALL: Pruning = Pruning {
        min_pair_count: 1,
        min_other_count: 1,
    };

    fn table(documents: &[&[Token]], pruning: Pruning) -> StaticTable {
        let mut builder = TableBuilder::new(100, 7).unwrap();
        for document in documents {
            builder.learn(document).unwrap();
        }
        StaticTable::new(builder.build(pruning).unwrap(), 100, 7).unwrap()
    }

    fn tokens(table: &StaticTable, suffix: Suffix) -> Vec<Token> {
        table.successors(suffix).map(|entry| entry.0).collect()
    }

    #[test]
    fn successors_are_counted_within_documents_most_frequent_first() {
        let table = table(&[&[1, 2, 3], &[1, 2, 4, 9], &[1, 2, 4]], ALL);
        let cases = [
            (Suffix::pair(1, 2), vec![4, 3]),
            (Suffix::pair(2, 4), vec![9]),
            (Suffix::single(2), vec![4, 3]),
            (Suffix::single(3), vec![]),
            (Suffix::pair(3, 1), vec![]),
            (Suffix::EMPTY, vec![1, 2, 4, 3, 9]),
        ];
        for (suffix, want) in cases {
            assert_eq!(tokens(&table, suffix), want, "{suffix:?}");
        }
        let (_, chance) = table.successors(Suffix::pair(1, 2)).next().unwrap();
        assert!((chance - 2.0 / (3.0 + 2.0)).abs() < 0.01, "{chance}");
    }

    #[test]
    fn the_rare_are_left_out() {
        let rare = Pruning {
            min_pair_count: 2,
            min_other_count: 3,
        };
        let table = table(&[&[1, 2, 3], &[1, 2, 4], &[5, 2, 4], &[1, 2, 4]], rare);
        assert_eq!(tokens(&table, Suffix::pair(1, 2)), [4]);
        assert!(tokens(&table, Suffix::pair(5, 2)).is_empty());
        assert_eq!(tokens(&table, Suffix::single(2)), [4]);
        assert_eq!(tokens(&table, Suffix::single(1)), [2]);
    }

    #[test]
    fn of_many_the_most_frequent_are_kept() {
        let many: Vec<Vec<Token>> = (0..100).map(|token| vec![1, 2, token]).collect();
        let many: Vec<&[Token]> = many.iter().map(Vec::as_slice).collect();
        let table = table(&many, ALL);
        let want: Vec<Token> = (0..12).collect();
        assert_eq!(tokens(&table, Suffix::pair(1, 2)), want, "ties by id");
        assert_eq!(tokens(&table, Suffix::single(2)).len(), 64);
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let error = TableBuilder::new(MAX_VOCAB_SIZE + 1, 7).unwrap_err();
        assert_eq!(error, BuildError::VocabSize(MAX_VOCAB_SIZE + 1));
        let (token, vocab_size) = (100, 100);
        let error = TableBuilder::new(100, 7).unwrap().learn(&[1, 100]);
        assert_eq!(error, Err(BuildError::Token { token, vocab_size }));
    }

    proptest! {
        #[test]
        fn what_was_counted_is_read_back(
            mut documents in prop::collection::vec(prop::collection::vec(0..6_u32, 0..12), 0..8),
        ) {
            let build = |documents: &[Vec<Token>]| {
                let mut builder = TableBuilder::new(6, 7).unwrap();
                for document in documents {
                    builder.learn(document).unwrap();
                }
                (builder.build(ALL).unwrap(), builder)
            };
            let (bytes, builder) = build(&documents);
            documents.reverse();
            prop_assert_eq!(&bytes, &build(&documents).0);
            let table = StaticTable::new(bytes, 6, 7).unwrap();
            let rows = builder.rows();
            prop_assert_eq!(table.num_rows(), rows.len());
            for row in rows {
                let stored: Vec<(Token, f32)> = table.successors(row.suffix).collect();
                prop_assert_eq!(stored.len(), row.counts.len());
                for (&(token, chance), &(counted, count)) in stored.iter().zip(&row.counts) {
                    prop_assert_eq!(token, counted);
                    prop_assert!((chance / (count as f32 * row.unit) - 1.0).abs() < 0.022);
                }
            }
        }
    }
}
