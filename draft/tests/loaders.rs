//! Tables and corpora from elsewhere: whatever their bytes, and where their checksums hold all the same, they are
//! refused or drafted from.

#![cfg(test)]

use std::fs;
use std::ops::Range;
use std::sync::LazyLock;

use foretoken_draft::infini::{Corpus, SuffixArrayBuilder};
use foretoken_draft::trigram::{Pruning, StaticTable, TableBuilder};
use foretoken_draft::{Context, Costs, DraftTree, Drafter, Hints, Infini, Trigram};
use foretoken_model::{BlockTable, SamplingParams, SeqId, Token};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

const VOCAB_SIZE: usize = 40;

/// A longer file is not made, whatever its header promises.
const MAX_LEN: u64 = 1 << 16;

/// What a file's header promises about the sections behind it: where its numbers stand, and how long that makes it.
struct Format {
    numbers: &'static [Range<usize>],
    promised: fn(&[u8]) -> u64,
    seal: fn(&mut [u8]),
}

const TABLE: Format = Format {
    numbers: &[4..8, 16..20, 20..24],
    promised: |bytes| {
        let [vocab_size, rows, successors] = [4, 16, 20].map(|at| u64::from(number(bytes, at)));
        56 + 4 * (vocab_size + 2) + 8 * rows + 4 * successors
    },
    seal: |bytes| {
        let content = xxh3_64(&bytes[56..]);
        bytes[40..48].copy_from_slice(&content.to_le_bytes());
        let header = xxh3_64(&bytes[..48]);
        bytes[48..56].copy_from_slice(&header.to_le_bytes());
    },
};

const CORPUS: Format = Format {
    numbers: &[4..8, 16..20],
    promised: |bytes| {
        let entry = if number(bytes, 4) <= 0xffff { 6 } else { 8 };
        40 + entry * u64::from(number(bytes, 16))
    },
    seal: |bytes| {
        let header = xxh3_64(&bytes[..24]);
        bytes[24..32].copy_from_slice(&header.to_le_bytes());
        let end = bytes.len() - 8;
        let content = xxh3_64(&bytes[..end]);
        bytes[end..].copy_from_slice(&content.to_le_bytes());
    },
};

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Texts with repeats.
fn documents() -> impl Iterator<Item = Vec<Token>> {
    (1..12).map(|factor| {
        (0..60)
            .map(|i| i * i * factor % VOCAB_SIZE as Token)
            .collect()
    })
}

static GOOD_TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("t.ftt");
    let parts = folder.path().join("parts");
    let mut builder = TableBuilder::open(VOCAB_SIZE, 7, parts, 1, 1 << 20).unwrap();
    documents().for_each(|document| builder.learn(&document).unwrap());
    builder.write(Pruning::NONE, &output).unwrap();
    fs::read(output).unwrap()
});

static GOOD_CORPUS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut builder = SuffixArrayBuilder::new(VOCAB_SIZE, 7).unwrap();
    documents().for_each(|document| builder.push_document(&document).unwrap());
    let mut bytes = Vec::new();
    builder.write(&mut bytes).unwrap();
    bytes
});

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Add(Vec<u8>),
    /// A number of the header is another.
    Promise(usize, u32),
    /// The file is cut or filled up to what its header promises.
    Fit(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let promise = prop_oneof![4 => 0..50_u32, 1 => 0..70_000_u32, 1 => any::<u32>()];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Damage::Add),
        2 => (0..6_usize, promise).prop_map(|(at, number)| Damage::Promise(at, number)),
        2 => any::<u8>().prop_map(Damage::Fit),
    ]
}

/// The file after all of it; sealed, its checksums hold again.
fn damaged(good: &[u8], damages: &[Damage], is_sealed: bool, format: &Format) -> Vec<u8> {
    let mut bytes = good.to_vec();
    // Sealing needs header and checksum; the rest of what is shorter is other tests' matter.
    let least = 64;
    for damage in damages {
        match damage {
            Damage::Flip(at, bits) => *at.get_mut(&mut bytes) ^= bits,
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len()).max(least)),
            Damage::Add(tail) => bytes.extend(tail),
            Damage::Promise(at, number) => {
                let at = format.numbers[at % format.numbers.len()].clone();
                bytes[at].copy_from_slice(&number.to_le_bytes());
            }
            Damage::Fit(filling) => {
                let len = (format.promised)(&bytes).min(MAX_LEN) as usize;
                bytes.resize(len.max(least), *filling);
            }
        }
    }
    if is_sealed {
        (format.seal)(&mut bytes);
    }
    bytes
}

/// Drafts behind texts that the good file knows, and that it does not.
fn assert_drafts_well(drafter: &mut dyn Drafter, vocab_size: usize) {
    for (place, document) in documents().take(3).enumerate() {
        for (temperature, len) in [(0.0, 1), (0.0, 30), (1.0, 60)] {
            let sampling = SamplingParams {
                temperature,
                ..SamplingParams::greedy()
            };
            let context = Context {
                seq: SeqId(place as u64),
                tokens: &document[..len],
                table: BlockTable::EMPTY,
                sampling: &sampling,
                max_draft_tokens: 63,
                max_draft_depth: 12,
                costs: Costs::default(),
                hints: Hints::default(),
            };
            let tree = drafter.propose(&[context]).unwrap().remove(0);
            assert!(tree.num_draft_tokens() <= 63);
            for node in 1..tree.num_nodes() {
                let (parent, token) = (tree.parents()[node], tree.tokens()[node]);
                assert!(parent < node && tree.depth(node) <= 12);
                let is_own = token < VOCAB_SIZE as Token;
                assert!(
                    is_own || (token as usize) < vocab_size,
                    "token {token} of {vocab_size}"
                );
                assert_eq!(tree.child(parent, token), Some(node), "no twins");
            }
            assert_eq!(tree.tokens()[DraftTree::ROOT], context.root());
        }
    }
}

fn draft_from_table(bytes: Vec<u8>) -> bool {
    let Ok(table) = StaticTable::open(bytes) else {
        return false;
    };
    _ = table.verify();
    assert!(table.num_pair_rows() <= table.num_rows());
    let vocab_size = table.vocab_size();
    assert_drafts_well(&mut Trigram::new(Some(table)), vocab_size);
    true
}

fn draft_from_corpus(bytes: Vec<u8>) -> bool {
    let Ok(corpus) = Corpus::open(bytes) else {
        return false;
    };
    _ = corpus.verify();
    assert!(corpus.num_documents() <= corpus.num_tokens());
    corpus.after(&[1, 4, 9]);
    let vocab_size = corpus.vocab_size();
    assert_drafts_well(&mut Infini::new(corpus), vocab_size);
    true
}

#[test]
fn what_is_whole_is_drafted_from_and_so_is_what_fits_its_header() {
    let forged = [Damage::Promise(0, 7), Damage::Fit(3)];
    for damages in [&[][..], &forged] {
        assert!(draft_from_table(damaged(
            &GOOD_TABLE,
            damages,
            true,
            &TABLE
        )));
        assert!(draft_from_corpus(damaged(
            &GOOD_CORPUS,
            damages,
            true,
            &CORPUS
        )));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_table_is_refused_or_drafted_from(
        damages in prop::collection::vec(damage(), 0..6),
        is_sealed in prop::bool::weighted(0.9),
    ) {
        draft_from_table(damaged(&GOOD_TABLE, &damages, is_sealed, &TABLE));
    }

    #[test]
    fn a_damaged_corpus_is_refused_or_drafted_from(
        damages in prop::collection::vec(damage(), 0..6),
        is_sealed in prop::bool::weighted(0.9),
    ) {
        draft_from_corpus(damaged(&GOOD_CORPUS, &damages, is_sealed, &CORPUS));
    }
}
