//! Overlays saved, read again, refused, forged.

use foretoken_model::{BlockTable, SamplingParams, SeqId};
use proptest::prelude::*;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

use super::super::suffix::Suffix;
use super::*;
use crate::drafter::{Context, Costs, Drafter, Finished, Hints};
use crate::trigram::Trigram;

const ROOM: usize = 1 << 20;

fn open(folder: &TempDir, max_bytes: usize) -> Result<SharedOverlay, SharedOverlayError> {
    SharedOverlay::open(folder.path().join("overlay"), max_bytes, 100, 7)
}

/// The file of an overlay that has learnt a text.
fn file(text: &[Token]) -> Vec<u8> {
    let mut rows = SharedRows::new(ROOM);
    rows.learn(text, 0);
    file::encode(&rows, Vocabulary::new(100, 7))
}

/// What is drafted behind 1, 2.
fn draft(trigram: &mut Trigram, cache_salt: Option<&str>) -> Vec<Token> {
    let context = Context {
        seq: SeqId(1),
        tokens: &[1, 2],
        table: BlockTable::EMPTY,
        sampling: &SamplingParams::greedy(),
        max_draft_tokens: 3,
        max_draft_depth: 3,
        costs: Costs::default(),
        hints: Hints {
            cache_salt,
            ..Hints::default()
        },
    };
    let tree = trigram.propose(&[context]).unwrap().remove(0);
    trigram.forget(SeqId(1));
    tree.tokens()[1..].to_vec()
}

#[test]
fn what_one_request_was_answered_is_drafted_to_the_next_and_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let trigram = || Trigram::new(None).sharing(open(&folder, ROOM).unwrap());
    let mut first = trigram();
    let finished = |tokens, cache_salt| Finished {
        tokens,
        num_prompt_tokens: 2,
        cache_salt,
    };
    first.finished(&finished(&[1, 2, 8, 8, 8], Some("a")));
    assert!(
        draft(&mut first, None).is_empty(),
        "salted answers do not teach"
    );
    first.finished(&finished(&[1, 2, 3, 4, 5], None));
    assert_eq!(draft(&mut first, None), [3, 4, 5]);
    assert!(
        draft(&mut first, Some("a")).is_empty(),
        "nor do salted requests read"
    );
    // A process that is killed leaves what it began with.
    assert!(draft(&mut trigram(), None).is_empty());
    first.close().unwrap();
    assert_eq!(draft(&mut trigram(), None), [3, 4, 5]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_torn_write_beside_the_file_is_passed_over() {
    let folder = TempDir::new().unwrap();
    let bytes = file(&[1, 2, 3]);
    fs::write(folder.path().join("overlay"), &bytes).unwrap();
    fs::write(folder.path().join("overlay.new"), &bytes[..9]).unwrap();
    let overlay = open(&folder, ROOM).unwrap();
    assert_eq!(overlay.rows.len(), 3);
    overlay.save().unwrap();
    assert_eq!(open(&folder, ROOM).unwrap().rows.len(), 3);
}

#[test]
fn of_more_than_fits_the_latest_is_read() {
    let folder = TempDir::new().unwrap();
    let mut overlay = open(&folder, ROOM).unwrap();
    for token in 0..50 {
        overlay.learn(&[token, token + 1], 1);
    }
    // Only what is visited moves to the younger generation, so it is put last.
    overlay.save().unwrap();
    let small = open(&folder, 1 << 11).unwrap();
    assert!((1..50).contains(&small.rows.len()), "{}", small.rows.len());
}

#[test]
fn what_is_not_the_overlay_is_refused_and_stays() {
    let good = file(&[1, 2, 3, 4]);
    let sealed = |mut content: Vec<u8>| {
        content.extend(xxh3_64(&content).to_le_bytes());
        content
    };
    let content = &good[..good.len() - 8];
    let with = |at: usize, byte: u8| {
        let mut changed = content.to_vec();
        changed[at] = byte;
        sealed(changed)
    };
    let mut damaged = good.clone();
    damaged[30] ^= 1;
    let cases = [
        (vec![], "0 bytes, where"),
        (good[1..].to_vec(), "it starts with"),
        (good[..good.len() - 1].to_vec(), "its content hashes to"),
        (damaged, "its content hashes to"),
        (with(4, 101), "made for 101 tokens"),
        (with(8, 8), "of tokenizer 0x0000000000000008, not"),
        (with(16, 6), "row 5 of 6 makes no sense"),
        (with(16, 4), "row 4 of 4 makes no sense"),
        (with(32, 9), "row 0 of 5 makes no sense"),
        (with(33, 100), "row 0 of 5 makes no sense"),
        (with(40, 0xff), "row 0 of 5 makes no sense"),
    ];
    let folder = TempDir::new().unwrap();
    for (bytes, want) in cases {
        fs::write(folder.path().join("overlay"), &bytes).unwrap();
        let error = open(&folder, ROOM).unwrap_err().to_string();
        assert!(error.contains(want), "no `{want}` in {error}");
        assert_eq!(fs::read(folder.path().join("overlay")).unwrap(), bytes);
    }
}

proptest! {
    #[test]
    fn what_is_saved_is_read(texts in prop::collection::vec(prop::collection::vec(0..9_u32, 0..30), 0..9)) {
        let mut rows = SharedRows::new(ROOM);
        for text in &texts {
            rows.learn(text, 0);
        }
        let mut read = SharedRows::new(ROOM);
        let vocabulary = Vocabulary::new(9, 7);
        file::decode(&file::encode(&rows, vocabulary), vocabulary, &mut read).unwrap();
        prop_assert_eq!(read.len(), rows.len());
        for (suffix, successors) in rows.iter() {
            prop_assert_eq!(read.successors(suffix), successors);
        }
    }

    #[test]
    fn a_forged_overlay_is_refused_or_drafted_from(
        num_rows in 0..6_u64,
        noise in prop::collection::vec(prop_oneof![0..9_u8, any::<u8>()], 0..200),
        flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4),
    ) {
        let mut bytes = match noise.len() % 2 {
            0 => file(&noise.iter().map(|&byte| Token::from(byte % 100)).collect::<Vec<_>>()),
            _ => [&b"FTO1"[..], &100_u32.to_le_bytes(), &7_u64.to_le_bytes(), &num_rows.to_le_bytes(), &noise, &[0; 8]].concat(),
        };
        let end = bytes.len() - 8;
        for (at, byte) in flips {
            bytes[at.index(end)] = byte;
        }
        let checksum = xxh3_64(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("overlay"), bytes).unwrap();
        if let Ok(overlay) = open(&folder, 1 << 14) {
            let known = overlay.rows.successors(Suffix::pair(1, 2)).len();
            prop_assert!(known <= 8);
            let drafted = draft(&mut Trigram::new(None).sharing(overlay), None);
            prop_assert!(drafted.iter().all(|&token| token < 100));
        }
    }
}
