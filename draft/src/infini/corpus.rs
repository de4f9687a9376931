//! The corpus: tokens, and their suffixes in order.
//!
//! The file, little-endian throughout, is read in place:
//!
//! ```text
//! "FTS1"       magic and version
//! u32          vocab_size of the model whose tokens these are
//! u64          fingerprint of its tokenizer
//! u64          num_tokens, separators included
//! u64          xxh3 of all before it
//! [u16 | u32]  tokens: u16 where vocab_size is below 2^16; vocab_size itself stands behind each document
//! [u32]        the suffix array: where the suffixes of `tokens` begin, in their order
//! u64          xxh3 of all before it
//! ```
//!
//! Opening reads the header alone, however large the file; [`Corpus::verify`] reads all. Until somebody calls it, and
//! since a checksum can be forged, nothing is believed of the sections but their lengths.

use std::cmp::Reverse;
use std::fmt;
use std::ops::Deref;

use foretoken_model::Token;

use crate::bytes::array;
use crate::file_head::{
    CHECKSUM, FileError, Vocabulary, begin, check_head, check_kind, check_sealed, seal,
};

use super::index::{Index, Tokens};

/// What a file starts with.
const MAGIC: [u8; 4] = *b"FTS1";

/// Larger vocabularies have tokens that are stored in 4 bytes.
const MAX_NARROW_VOCAB_SIZE: Token = u16::MAX as Token;

pub(crate) const HEADER: usize = 32;
const SUFFIX: usize = 4;

/// A corpus that [`SuffixArrayBuilder`](super::SuffixArrayBuilder) wrote, in a mapped file or in memory.
pub struct Corpus {
    bytes: Box<dyn Deref<Target = [u8]> + Send + Sync>,
    header: Header,
}

impl Corpus {
    /// What a file starts with.
    pub const MAGIC: [u8; 4] = MAGIC;

    /// Reads `bytes` in place. `vocab_size` is that of the model that is served, `fingerprint` that of its tokenizer.
    pub fn new(
        bytes: impl Deref<Target = [u8]> + Send + Sync + 'static,
        vocab_size: usize,
        fingerprint: u64,
    ) -> Result<Self, FileError> {
        let corpus = Self::open(bytes)?;
        let expected = Vocabulary::new(vocab_size, fingerprint);
        corpus.header.vocabulary.check(expected)?;
        Ok(corpus)
    }

    /// Reads `bytes` in place, whichever model they are for.
    pub fn open(
        bytes: impl Deref<Target = [u8]> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        Ok(Self {
            header: Header::read(&bytes)?,
            bytes: Box::new(bytes),
        })
    }

    /// Compares all bytes with their checksum; some seconds for each gigabyte of a file that is not cached.
    pub fn verify(&self) -> Result<(), FileError> {
        check_sealed(&self.bytes)
    }

    /// Tokens, and a separator for each document.
    pub fn num_tokens(&self) -> usize {
        self.header.num_tokens as usize
    }

    /// Documents: each has its separator, and no suffixes stand behind those that begin with one.
    pub fn num_documents(&self) -> usize {
        self.index().find(&[self.header.vocabulary.size]).len()
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.header.vocabulary.size as usize
    }

    /// Names the tokenizer.
    pub fn fingerprint(&self) -> u64 {
        self.header.vocabulary.fingerprint
    }

    /// Bytes of the file.
    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What followed the longest ending of `text` that goes on in the corpus, with that ending's length, commonest
    /// first, with its share.
    pub fn after(&self, text: &[Token]) -> (usize, Vec<(Token, f32)>) {
        let (mut matches, mut followers) = (Vec::new(), Vec::new());
        self.index().suffixes_of(text, &mut matches);
        for found in matches.iter().rev() {
            let total = self.index().followers(found, &mut followers);
            if !followers.is_empty() {
                followers.sort_by_key(|&(_, count)| Reverse(count));
                let share = |&(token, count): &(Token, u32)| (token, count as f32 / total as f32);
                return (found.len, followers.iter().map(share).collect());
            }
        }
        (0, Vec::new())
    }

    /// What is searched.
    pub(crate) fn index(&self) -> Index<'_> {
        let num_tokens = self.num_tokens();
        let token_size = token_size(self.header.vocabulary.size);
        let (tokens, rest) = self.bytes[HEADER..].split_at(num_tokens * token_size);
        let tokens = match token_size {
            2 => Tokens::Narrow(tokens.as_chunks().0),
            _ => Tokens::Wide(tokens.as_chunks().0),
        };
        let suffixes = &rest.as_chunks().0[..num_tokens];
        Index::new(self.header.vocabulary.size, tokens, suffixes)
    }
}

impl fmt::Debug for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corpus")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) num_tokens: u64,
}

impl Header {
    /// As it is stored.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = begin(MAGIC, self.vocabulary);
        bytes.extend(self.num_tokens.to_le_bytes());
        seal(bytes)
    }

    /// Checks the header, and that the file is as long as it promises.
    fn read(bytes: &[u8]) -> Result<Self, FileError> {
        check_kind(bytes, MAGIC, HEADER + CHECKSUM)?;
        check_head(&bytes[..HEADER])?;
        let header = Self {
            vocabulary: Vocabulary::read(bytes),
            num_tokens: u64::from_le_bytes(array(bytes, 16)),
        };
        let num_tokens = header.num_tokens;
        let (found, expected) = (bytes.len(), header.file_size());
        if found as u128 != expected {
            return Err(FileError::Length {
                found,
                expected,
                promised: format!("{num_tokens} tokens"),
            });
        }
        if num_tokens > u64::from(u32::MAX) {
            return Err(FileError::Size { num_tokens });
        }
        Ok(header)
    }

    /// 128 bits, since a header may promise anything.
    fn file_size(&self) -> u128 {
        let entry = token_size(self.vocabulary.size) + SUFFIX;
        (HEADER + CHECKSUM) as u128 + u128::from(self.num_tokens) * entry as u128
    }
}

/// Bytes of a stored token.
pub(crate) fn token_size(vocab_size: Token) -> usize {
    if vocab_size <= MAX_NARROW_VOCAB_SIZE {
        2
    } else {
        4
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use xxhash_rust::xxh3::xxh3_64;

    use super::super::SuffixArrayBuilder;
    use super::*;

    /// The file of some documents.
    pub(crate) fn file(vocab_size: usize, documents: &[Vec<Token>]) -> Vec<u8> {
        let mut builder = SuffixArrayBuilder::new(vocab_size, 7).unwrap();
        for document in documents {
            builder.push_document(document).unwrap();
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes).unwrap();
        bytes
    }

    /// A valid header and checksum, whatever else it says.
    pub(crate) fn forged(vocab_size: u32, num_tokens: u64, sections: &[u8]) -> Vec<u8> {
        let header = Header {
            vocabulary: Vocabulary::new(vocab_size as usize, 7),
            num_tokens,
        };
        let mut bytes = header.to_bytes();
        bytes.extend(sections);
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn refused(bytes: Vec<u8>) -> FileError {
        Corpus::new(bytes, 10, 7).unwrap_err()
    }

    #[test]
    fn small_vocabularies_take_six_bytes_a_token_and_large_ones_eight() {
        for (vocab_size, size) in [(10, 6), (65_535, 6), (65_536, 8), (200_000, 8)] {
            let last = vocab_size as Token - 1;
            let bytes = file(vocab_size, &[vec![1, last], vec![last]]);
            assert_eq!(bytes.len(), 40 + 5 * size, "{vocab_size}");
            let corpus = Corpus::new(bytes, vocab_size, 7).unwrap();
            assert_eq!(corpus.num_tokens(), 5);
            assert_eq!(corpus.verify(), Ok(()));
            assert_eq!(corpus.index().find(&[last]).len(), 2);
            assert_eq!(corpus.index().find(&[1, last]).len(), 1);
            assert_eq!(corpus.num_documents(), 2);
            assert_eq!(corpus.after(&[7, 1]), (1, vec![(last, 1.0)]));
            assert_eq!(corpus.after(&[last]), (0, vec![]), "only ends follow");
        }
        let nothing = Corpus::new(file(10, &[]), 10, 7).unwrap();
        assert_eq!((nothing.num_tokens(), nothing.verify()), (0, Ok(())));
    }

    #[test]
    fn what_is_not_the_corpus_is_refused_with_its_numbers() {
        let good = file(10, &[vec![1, 2, 3]]);
        let found = 39;
        assert_eq!(
            refused(good[..found].to_vec()),
            FileError::Short { found, least: 40 }
        );
        let other = [b"FTS2", &good[4..]].concat();
        let magic = FileError::Magic {
            found: *b"FTS2",
            expected: *b"FTS1",
        };
        assert_eq!(refused(other), magic);
        let length = FileError::Length {
            found: 63,
            expected: 64,
            promised: "4 tokens".to_owned(),
        };
        assert_eq!(refused(good[..63].to_vec()), length);
        let num_tokens = u64::MAX;
        assert!(
            matches!(refused(forged(10, num_tokens, &[])), FileError::Length { expected, .. } if expected > 1 << 64)
        );
        for index in 4..good.len() {
            let mut damaged = good.clone();
            damaged[index] ^= 1;
            let error = match Corpus::new(damaged, 10, 7) {
                Err(error) => {
                    assert!(matches!(error, FileError::Header { .. }), "byte {index}");
                    continue;
                }
                Ok(corpus) => corpus.verify().unwrap_err(),
            };
            assert!(
                index >= HEADER && matches!(error, FileError::Content { .. }),
                "byte {index}"
            );
        }
        let found = Vocabulary::new(10, 7);
        for (size, fingerprint) in [(11, 7), (10, 8)] {
            let error = Corpus::new(good.clone(), size, fingerprint).unwrap_err();
            let expected = Vocabulary::new(size, fingerprint);
            assert_eq!(error, FileError::Vocabulary { found, expected });
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), valid in 0..5_usize) {
            let start: Vec<u8> = MAGIC.into_iter().take(valid).chain(bytes).collect();
            prop_assert!(Corpus::new(start, 10, 7).is_err());
        }
    }
}
