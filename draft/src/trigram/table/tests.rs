//! Files made by hand: read, refused, forged.

use proptest::prelude::*;

use super::header::ROW;
use super::*;

/// Tokens of the vocabulary.
const VOCAB_SIZE: u32 = 10;

/// A file with valid checksums, whatever else it says.
fn file(num_rows: u32, num_successors: u32, sections: &[u8]) -> Vec<u8> {
    let header = Header {
        vocabulary: Vocabulary::new(VOCAB_SIZE as usize, 7),
        num_rows,
        num_successors,
        num_counted: 9,
        num_kept: 8,
        content: xxh3_64(sections),
    };
    [header.to_bytes(), sections.to_vec()].concat()
}

/// Rows of these first tokens, `VOCAB_SIZE` for those without one.
fn sections(rows: &[(u32, Token)], ends: &[u32], successors: &[u32]) -> Vec<u8> {
    let starts =
        (0..VOCAB_SIZE + 2).map(|first| rows.iter().filter(|row| row.0 < first).count() as u32);
    let lasts = rows.iter().map(|row| row.1);
    let words = starts.chain(lasts).chain(ends.iter().copied());
    let words = words.chain(successors.iter().copied());
    words.flat_map(u32::to_le_bytes).collect()
}

fn row(table: &StaticTable, suffix: Suffix) -> Vec<(Token, f32)> {
    table.successors(suffix).collect()
}

#[test]
fn a_row_is_found_by_its_suffix() {
    let rows = [(1, 2), (VOCAB_SIZE, 2), (VOCAB_SIZE, Token::MAX)];
    let successors = [pack(3, 0.5), pack(4, 0.25), pack(5, 1.0), pack(12, 0.5)];
    let bytes = file(3, 4, &sections(&rows, &[2, 3, 4], &successors));
    let table = StaticTable::new(bytes, 10, 7).unwrap();
    assert_eq!(table.verify(), Ok(()));
    assert_eq!((table.num_rows(), table.num_pair_rows()), (3, 1));
    assert_eq!(table.coverage(), (9, 8));
    let pair = row(&table, Suffix::pair(1, 2));
    assert_eq!(pair.iter().map(|entry| entry.0).collect::<Vec<_>>(), [3, 4]);
    assert!(
        (pair[0].1 - 0.5).abs() < 0.01 && (pair[1].1 - 0.25).abs() < 0.01,
        "{pair:?}"
    );
    assert_eq!(row(&table, Suffix::single(2)), [(5, 1.0)]);
    assert_eq!(row(&table, Suffix::EMPTY), [], "no token of the vocabulary");
    let absent = [Suffix::pair(2, 1), Suffix::pair(10, 2), Suffix::single(1)];
    for suffix in absent {
        assert_eq!(row(&table, suffix), [], "{suffix:?}");
    }
    assert_eq!(table.after(&[9, 1, 2]), (2, pair));
    assert_eq!(table.after(&[9, 2]), (1, vec![(5, 1.0)]));
    assert_eq!(table.after(&[9]), (0, vec![]));
}

#[test]
fn numbers_that_make_no_sense_give_empty_rows() {
    let rows = [(1, 2), (1, 3), (1, 4)];
    let good = sections(&rows, &[u32::MAX, 0, 1], &[pack(3, 0.5)]);
    let lengths = |sections: &[u8]| {
        let table = StaticTable::new(file(3, 1, sections), 10, 7).unwrap();
        rows.map(|(first, last)| row(&table, Suffix::pair(first, last)).len())
    };
    assert_eq!(lengths(&good), [0, 0, 1]);
    for start in [2 * WORD, 3 * WORD - 1] {
        let mut forged = good.clone();
        forged[start] = 0xff;
        assert_eq!(lengths(&forged), [0, 0, 0], "byte {start}");
    }
}

#[test]
fn what_is_not_the_table_is_refused_with_its_numbers() {
    let sections = sections(&[(VOCAB_SIZE, Token::MAX)], &[1], &[pack(3, 0.5)]);
    let good = file(1, 1, &sections);
    let refused = |bytes: Vec<u8>| StaticTable::new(bytes, 10, 7).unwrap_err();
    assert_eq!(
        refused(good[..55].to_vec()),
        FileError::Short {
            found: 55,
            least: 56
        }
    );
    let other = [b"FTT1", &good[4..]].concat();
    let magic = FileError::Magic {
        found: *b"FTT1",
        expected: *b"FTT2",
    };
    assert_eq!(refused(other), magic);
    let cut = good[..good.len() - 1].to_vec();
    let length = FileError::Length {
        found: 115,
        expected: 116,
        promised: "1 rows and 1 successors".to_owned(),
    };
    assert_eq!(refused(cut), length);
    let damaged = |index: usize| {
        let mut bytes = good.clone();
        bytes[index] ^= 1;
        bytes
    };
    for index in 4..HEADER {
        let error = refused(damaged(index));
        assert!(matches!(error, FileError::Header { .. }), "byte {index}");
    }
    for index in HEADER..good.len() {
        let table = StaticTable::new(damaged(index), 10, 7).unwrap();
        let error = table.verify().unwrap_err();
        assert!(matches!(error, FileError::Content { .. }), "byte {index}");
    }
    let found = Vocabulary::new(10, 7);
    for (size, fingerprint) in [(11, 7), (10, 8)] {
        let error = StaticTable::new(good.clone(), size, fingerprint).unwrap_err();
        let expected = Vocabulary::new(size, fingerprint);
        assert_eq!(error, FileError::Vocabulary { found, expected });
    }
    assert!(StaticTable::open(good).is_ok());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), valid in 0..5_usize) {
        let start: Vec<u8> = b"FTT2".iter().copied().take(valid).chain(bytes).collect();
        prop_assert!(StaticTable::new(start, 10, 7).is_err());
    }

    #[test]
    fn a_forged_table_never_panics(
        rows in 0..8_u32,
        successors in 0..8_u32,
        noise in prop::collection::vec(prop_oneof![0..9_u8, any::<u8>()], 256),
        small in any::<bool>(),
        a in any::<Token>(),
    ) {
        let len = num_starts(VOCAB_SIZE) * WORD + rows as usize * ROW + successors as usize * WORD;
        let mut sections = noise[..len].to_vec();
        if small {
            // Numbers that may well lie in bounds.
            sections.as_chunks_mut::<WORD>().0.iter_mut().for_each(|word| word[1..].fill(0));
        }
        let table = StaticTable::new(file(rows, successors, &sections), 10, 7).unwrap();
        prop_assert!(table.num_pair_rows() <= table.num_rows());
        for suffix in Suffix::all(&[a, a]) {
            prop_assert!(table.successors(suffix).all(|(token, _)| token < 10));
        }
        for (first, last) in (0..12).flat_map(|first| (0..12).map(move |last| (first, last))) {
            prop_assert!(table.successors(Suffix::pair(first, last)).all(|(token, _)| token < 10));
        }
    }
}
