//! Tables built from documents, in memory and by way of the disk.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::trigram::StaticTable;
use crate::trigram::suffix::Suffix;

/// Memory that nothing here fills.
const MEMORY: usize = 1 << 16;

/// Builds a table in a folder of its own and gives the file's bytes.
fn build(
    documents: &[Vec<Token>],
    vocab_size: usize,
    pruning: Pruning,
    memory: usize,
) -> Result<Vec<u8>, BuildError> {
    let folder = TempDir::new().unwrap();
    let (parts, output) = (folder.path().join("t.parts"), folder.path().join("t.ftt"));
    let mut builder = TableBuilder::open(vocab_size, 7, parts, 1, memory)?;
    for document in documents {
        builder.learn(document)?;
    }
    builder.write(pruning, &output)?;
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    Ok(fs::read(output).unwrap())
}

/// A table of 100 tokens.
pub(in crate::trigram) fn table(documents: &[&[Token]], pruning: Pruning) -> StaticTable {
    let documents: Vec<Vec<Token>> = documents.iter().map(|document| document.to_vec()).collect();
    StaticTable::new(build(&documents, 100, pruning, MEMORY).unwrap(), 100, 7).unwrap()
}

fn tokens(table: &StaticTable, suffix: Suffix) -> Vec<Token> {
    table.successors(suffix).map(|entry| entry.0).collect()
}

#[test]
fn successors_are_counted_within_documents_most_frequent_first() {
    let table = table(&[&[1, 2, 3], &[1, 2, 4, 9], &[1, 2, 4]], Pruning::NONE);
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
    assert_eq!(table.coverage(), (4, 4));
}

#[test]
fn the_rare_are_left_out() {
    let rare = Pruning {
        min_pair_count: 2,
        min_other_count: 3,
        ..Pruning::NONE
    };
    let table = table(&[&[1, 2, 3], &[1, 2, 4], &[5, 2, 4], &[1, 2, 4]], rare);
    assert_eq!(tokens(&table, Suffix::pair(1, 2)), [4]);
    assert!(tokens(&table, Suffix::pair(5, 2)).is_empty());
    assert_eq!(tokens(&table, Suffix::single(2)), [4]);
    assert_eq!(tokens(&table, Suffix::single(1)), [2]);
    assert_eq!(table.coverage(), (4, 2));
}

#[test]
fn of_many_the_most_frequent_are_kept() {
    let many: Vec<Vec<Token>> = (0..100).map(|token| vec![1, 2, token]).collect();
    let many: Vec<&[Token]> = many.iter().map(Vec::as_slice).collect();
    for most in [12, 3] {
        let pruning = Pruning {
            max_pair_successors: most,
            ..Pruning::NONE
        };
        let table = table(&many, pruning);
        let want: Vec<Token> = (0..most as Token).collect();
        assert_eq!(tokens(&table, Suffix::pair(1, 2)), want, "ties by id");
        assert_eq!(tokens(&table, Suffix::single(2)).len(), 64);
    }
}

#[test]
fn a_table_is_cut_to_a_size() {
    let documents: Vec<Vec<Token>> = (1..20)
        .flat_map(|token| vec![vec![1, token, token + 1]; token as usize])
        .collect();
    let sized = |max_size| {
        let pruning = Pruning {
            max_size,
            ..Pruning::NONE
        };
        build(&documents, 100, pruning, MEMORY)
    };
    let whole = sized(u64::MAX).unwrap().len() as u64;
    let mut last = whole;
    for max_size in (750..whole).rev().step_by(40) {
        let bytes = sized(max_size).unwrap();
        assert!(bytes.len() as u64 <= max_size && bytes.len() as u64 <= last);
        last = bytes.len() as u64;
        let table = StaticTable::new(bytes, 100, 7).unwrap();
        let best = table.successors(Suffix::pair(1, 19)).next();
        assert_eq!(best.map(|entry| entry.0), Some(20), "{max_size}");
    }
    assert!(last < whole);
    let error = sized(100).unwrap_err();
    assert!(
        matches!(error, BuildError::TooLarge { max_size: 100, least } if least > 100),
        "{error}"
    );
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let error = build(&[], MAX_VOCAB_SIZE + 1, Pruning::NONE, MEMORY).unwrap_err();
    assert!(matches!(error, BuildError::VocabSize(size) if size == MAX_VOCAB_SIZE + 1));
    let error = build(&[vec![1, 100]], 100, Pruning::NONE, MEMORY).unwrap_err();
    let refused = BuildError::Token {
        token: 100,
        vocab_size: 100,
    };
    assert_eq!(error.to_string(), refused.to_string());
}

#[test]
fn a_build_that_was_cut_off_goes_on() {
    let documents: Vec<Vec<Token>> = (0..50).map(|first| (first..first + 9).collect()).collect();
    let want = build(&documents, 100, Pruning::NONE, MEMORY).unwrap();
    let folder = TempDir::new().unwrap();
    let (parts, output) = (folder.path().join("t.parts"), folder.path().join("t.ftt"));
    let open = |identity| TableBuilder::open(100, 7, parts.clone(), identity, 100 * 16);
    // Each run of the program takes fifteen more documents than the last one left safe.
    let mut starts = Vec::new();
    loop {
        let mut builder = open(1).unwrap();
        let learnt = builder.num_documents() as usize;
        starts.push(learnt);
        for document in documents.iter().skip(learnt).take(15) {
            builder.learn(document).unwrap();
        }
        if builder.num_documents() as usize == documents.len() {
            builder.write(Pruning::NONE, &output).unwrap();
            break;
        }
    }
    assert!(starts.len() > 2 && starts.is_sorted(), "{starts:?}");
    assert_eq!(fs::read(&output).unwrap(), want);
    assert!(!parts.exists());
}

#[test]
fn another_builds_folder_or_a_torn_run_is_refused() {
    let folder = TempDir::new().unwrap();
    let open = |identity| TableBuilder::open(100, 7, folder.path().into(), identity, 64);
    let mut builder = open(1).unwrap();
    builder.learn(&[1, 2, 3]).unwrap();
    builder.learn(&[4, 5, 6]).unwrap();
    assert_eq!(open(1).unwrap().num_documents(), 1);
    assert!(matches!(
        open(2),
        Err(BuildError::Parts(PartsError::OtherBuild { .. }))
    ));
    let run = folder.path().join("000000.run");
    let bytes = fs::read(&run).unwrap();
    fs::write(&run, &bytes[1..]).unwrap();
    let error = open(1).unwrap_err().to_string();
    assert!(error.contains("000000.run has 95 bytes"), "{error}");
}

/// Documents with much in common.
fn documents() -> impl Strategy<Value = Vec<Vec<Token>>> {
    prop::collection::vec(prop::collection::vec(0..6_u32, 0..12), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_and_memory_change_nothing(documents in documents(), seed in any::<u64>(), memory in 0..200_usize) {
        let want = build(&documents, 6, Pruning::NONE, MEMORY).unwrap();
        let mut shuffled = documents;
        shuffled.sort_by_key(|document| {
            let bytes: Vec<u8> = document.iter().flat_map(|token| token.to_le_bytes()).collect();
            xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, seed)
        });
        // So little that there are more runs than are merged at once.
        prop_assert_eq!(build(&shuffled, 6, Pruning::NONE, memory * 16).unwrap(), want);
    }

    #[test]
    fn what_was_counted_is_read_back(documents in documents()) {
        let mut counts = std::collections::BTreeMap::<_, std::collections::BTreeMap<_, u32>>::new();
        for document in &documents {
            for (end, &token) in document.iter().enumerate() {
                for suffix in Suffix::all(&document[..end]) {
                    *counts.entry(suffix).or_default().entry(token).or_default() += 1;
                }
            }
        }
        let table = build(&documents, 6, Pruning::NONE, MEMORY).unwrap();
        let table = StaticTable::new(table, 6, 7).unwrap();
        prop_assert_eq!(table.verify(), Ok(()));
        prop_assert_eq!(table.num_rows(), counts.len());
        prop_assert_eq!(table.num_pair_rows(), counts.keys().filter(|suffix| suffix.is_pair()).count());
        for (suffix, counts) in counts {
            let stored: Vec<(Token, f32)> = table.successors(suffix).collect();
            prop_assert_eq!(stored.len(), counts.len());
            prop_assert!(stored.is_sorted_by(|a, b| counts[&a.0] >= counts[&b.0]));
            let total: u32 = counts.values().sum::<u32>() + counts.len() as u32;
            for (token, chance) in stored {
                let want = counts[&token] as f32 / total as f32;
                prop_assert!((chance / want - 1.0).abs() < 0.022, "{chance}, not {want}");
            }
        }
    }
}
