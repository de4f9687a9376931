//! `foretoken table`, and a server's drafter with what it made.

#![cfg(test)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use tempfile::TempDir;

/// Runs the binary in a folder; what it prints, or what it complains about.
fn foretoken(folder: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foretoken"));
    let output = command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Builds a table of a folder's files and gives its bytes.
fn build(folder: &Path, args: &[&str]) -> Result<Vec<u8>, String> {
    let fixed = ["table", "build", "--output", "t.ftt"];
    foretoken(folder, &[&fixed, args].concat())?;
    assert!(!folder.join("t.ftt.parts").exists());
    Ok(fs::read(folder.join("t.ftt")).unwrap())
}

const DOCUMENTS: [&str; 3] = [
    "Once upon a time there was a little fox.",
    "Once upon a time there was a little bird.\nIt sang.",
    "Once upon a hill there was a tree.",
];

/// The same documents in every shape that is read.
fn corpora(folder: &Path) {
    let lines = |record: &dyn Fn(&str) -> serde_json::Value| {
        DOCUMENTS.map(|text| format!("{}\n", record(text))).concat()
    };
    let plain = DOCUMENTS.join("\n<|end|>\n");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("plain.txt", plain.as_bytes());
    write(
        "records.jsonl",
        lines(&|text| json!({"text": text})).as_bytes(),
    );
    write(
        "named.jsonl",
        lines(&|text| json!({"id": 1, "body": text})).as_bytes(),
    );
    write(
        "turns.jsonl",
        lines(&|text| json!({"turns": [text]})).as_bytes(),
    );
    write(
        "packed.txt.zst",
        &zstd::encode_all(plain.as_bytes(), 1).unwrap(),
    );
    write_parquet(&folder.join("column.parquet"), &DOCUMENTS);
}

/// A table of two columns, `text` the second; one row has none.
fn write_parquet(path: &Path, texts: &[&str]) {
    let schema = "message schema { required binary id (UTF8); optional binary text (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let ids = vec![ByteArray::from("id"); texts.len() + 1];
    let values: Vec<ByteArray> = texts.iter().map(|&text| text.into()).collect();
    let mut levels = vec![1; texts.len()];
    levels.insert(1, 0);
    for (values, levels) in [(ids, None), (values, Some(levels.as_slice()))] {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, levels, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn the_same_documents_give_the_same_table_whatever_holds_them() {
    let folder = TempDir::new().unwrap();
    corpora(folder.path());
    let want = build(folder.path(), &["--input", "records.jsonl"]).unwrap();
    let cases = [
        "--input plain.txt --document-separator <|end|>",
        "--input packed.txt.zst --document-separator <|end|>",
        "--input named.jsonl --field body",
        "--input turns.jsonl",
        "--input column.parquet",
    ];
    for case in cases {
        let args: Vec<&str> = case.split(' ').collect();
        assert!(build(folder.path(), &args).unwrap() == want, "{case}");
    }
    let [three, reverse] = [
        ["plain.txt", "turns.jsonl", "column.parquet"],
        ["column.parquet", "plain.txt", "turns.jsonl"],
    ]
    .map(|inputs| {
        let separator = ["--document-separator", "<|end|>", "--input"];
        build(folder.path(), &[&separator[..], &inputs].concat()).unwrap()
    });
    assert!(three == reverse && three != want);
    // Without the separator what follows one document follows the other.
    assert!(build(folder.path(), &["--input", "plain.txt"]).unwrap() != want);
}

#[test]
fn a_table_is_described_verified_and_drafted_with() {
    let folder = TempDir::new().unwrap();
    corpora(folder.path());
    build(folder.path(), &["--input", "records.jsonl", "turns.jsonl"]).unwrap();
    let show = ["table", "info", "t.ftt", "--verify", "--show", "Once upon"];
    let said = foretoken(folder.path(), &show).unwrap();
    for part in [
        "version 2",
        "8192 tokens",
        "whole",
        "last 2 tokens",
        "\" a\"",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let generate = "generate --raw -p Once --max-tokens 16 --temperature 0 --show-drafts \
                    --min-draft-tokens 4 --threads 1 --trigram-table t.ftt";
    let generate: Vec<&str> = generate.split_whitespace().collect();
    let said = foretoken(folder.path(), &generate).unwrap();
    assert!(said.contains("plain decoding says the same text"), "{said}");
    let drafted = said.split(" guesses were right").next().unwrap();
    let drafted: usize = drafted.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(drafted > 0, "{said}");

    let good = fs::read(folder.path().join("t.ftt")).unwrap();
    let damaged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        // bytes, options of `info`, what it says
        (damaged(good.len() - 1), "", Ok("version 2")),
        (
            damaged(good.len() - 1),
            "--verify",
            Err("its content hashes to"),
        ),
        (damaged(20), "", Err("its header hashes to")),
        (damaged(0), "", Err("it starts with")),
        (good[..good.len() - 4].to_vec(), "", Err("successors take")),
        (vec![], "", Err("0 bytes")),
    ];
    for (bytes, option, want) in cases {
        fs::write(folder.path().join("t.ftt"), bytes).unwrap();
        let args: Vec<&str> = ["table", "info", "t.ftt"]
            .into_iter()
            .chain(option.split_whitespace())
            .collect();
        let said = foretoken(folder.path(), &args);
        match (&said, want) {
            (Ok(said), Ok(part)) | (Err(said), Err(part)) if said.contains(part) => {}
            _ => panic!("{said:?}, not {want:?}"),
        }
    }
}

#[test]
fn another_tokenizers_table_is_refused() {
    let folder = TempDir::new().unwrap();
    corpora(folder.path());
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/stories260K");
    let file = format!("{tokenizer}/tokenizer.json");
    let args = ["--input", "records.jsonl", "--tokenizer"];
    let by_folder = build(folder.path(), &[&args[..], &[tokenizer]].concat()).unwrap();
    let by_file = build(folder.path(), &[&args[..], &[&file]].concat()).unwrap();
    assert!(by_folder == by_file);
    for args in [
        vec!["generate", "-p", "x", "--trigram-table", "t.ftt"],
        vec!["table", "info", "t.ftt", "--show", "x"],
    ] {
        let error = foretoken(folder.path(), &args).unwrap_err();
        assert!(error.contains("tokenizer"), "{args:?}: {error}");
    }
}

#[test]
fn a_corpus_is_built_described_verified_and_drafted_with() {
    let folder = TempDir::new().unwrap();
    corpora(folder.path());
    let kind = ["--kind", "suffix-array", "--input"];
    let build = |inputs: &[&str]| build(folder.path(), &[&kind, inputs].concat());
    let want = build(&["records.jsonl"]).unwrap();
    assert!(build(&["column.parquet"]).unwrap() == want);
    build(&["records.jsonl", "turns.jsonl"]).unwrap();
    let show = [
        "table",
        "info",
        "t.ftt",
        "--verify",
        "--show",
        "Once upon a",
    ];
    let said = foretoken(folder.path(), &show).unwrap();
    for part in [
        "suffix array",
        "8192 tokens",
        "documents    6",
        "whole",
        "tokens of \"Once upon a\"",
        "\" time\"",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let generate = "generate --raw -p Once --max-tokens 16 --temperature 0 --show-drafts --drafter infini \
                    --min-draft-tokens 4 --threads 1 --infini-corpus t.ftt";
    let generate: Vec<&str> = generate.split_whitespace().collect();
    let said = foretoken(folder.path(), &generate).unwrap();
    assert!(said.contains("plain decoding says the same text"), "{said}");

    let good = fs::read(folder.path().join("t.ftt")).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for (bytes, want) in [
        (damaged, "its content hashes to"),
        (good[1..].to_vec(), "neither a trigram table"),
    ] {
        fs::write(folder.path().join("t.ftt"), bytes).unwrap();
        let error = foretoken(folder.path(), &["table", "info", "t.ftt", "--verify"]).unwrap_err();
        assert!(error.contains(want), "no `{want}` in {error}");
    }
    let error = build(&["records.jsonl", "--max-size", "1MB"]).unwrap_err();
    assert!(error.contains("are for --kind trigram"), "{error}");
}

/// A text without much in common with itself, which soon fills a small memory.
fn babble(seed: u64, num_words: usize) -> String {
    let mut state = seed;
    let words = (0..num_words).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let letters = (0..4).map(|place| b'a' + (state >> (40 + 5 * place)) as u8 % 26);
        letters.map(char::from).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_build_that_was_cut_off_goes_on() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let records = |seeds: std::ops::Range<u64>| {
        let records = seeds.map(|seed| format!("{}\n", json!({"text": babble(seed, 500)})));
        records.collect::<String>()
    };
    fs::write(path("first.jsonl"), records(1..60)).unwrap();
    let good = records(60..62);
    fs::write(path("second.jsonl"), &good).unwrap();
    let args = ["--min-count", "1", "--memory-limit"];
    let inputs = ["--input", "first.jsonl", "second.jsonl"];
    let want = build(folder.path(), &[&args[..], &["64MiB"], &inputs].concat()).unwrap();

    // A file that cannot be read to its end stands for a power cut.
    let small = [&args[..], &["1MiB"], &inputs].concat();
    let modified = fs::metadata(path("second.jsonl")).unwrap().modified();
    let modified = modified.unwrap();
    let put = |text: &str| {
        fs::write(path("second.jsonl"), text).unwrap();
        let file = File::options().write(true).open(path("second.jsonl"));
        file.unwrap().set_modified(modified).unwrap();
    };
    put(&good.replacen('{', "[", 1));
    fs::remove_file(path("t.ftt")).unwrap();
    let error = build(folder.path(), &small).unwrap_err();
    assert!(
        error.contains("second.jsonl: document at line 1"),
        "{error}"
    );
    assert!(path("t.ftt.parts/000000.run").exists() && !path("t.ftt").exists());

    let other = [&args[..], &["1MiB", "--field", "text"], &inputs].concat();
    let error = build(folder.path(), &other).unwrap_err();
    assert!(error.contains("t.ftt.parts holds another build"), "{error}");
    put(&good);
    assert!(build(folder.path(), &small).unwrap() == want);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let folder = TempDir::new().unwrap();
    corpora(folder.path());
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("array.json", b"[]");
    write("latin.txt", b"gr\xfc\xdfe");
    write("odd.jsonl", b"{\"text\": \"x\"}\n\n{\"texts\": 1}\n");
    write("torn.parquet", b"PAR1");
    let cases = [
        ("missing.txt", "missing.txt: No such file"),
        ("array.json", "array.json: one JSON value"),
        ("latin.txt", "latin.txt: line 1: invalid utf-8"),
        (
            "odd.jsonl",
            "odd.jsonl: document at line 3: expected `text`",
        ),
        (
            "named.jsonl",
            "named.jsonl: document at line 1: expected `text`",
        ),
        ("torn.parquet", "torn.parquet: "),
        (
            "column.parquet --field body",
            "no column `body`, but id, text",
        ),
        ("records.jsonl --field body", "no text in `body`"),
        (
            "records.jsonl --max-size 100",
            "at most 100 bytes are wanted",
        ),
    ];
    for (case, want) in cases {
        let args: Vec<&str> = ["--input"].into_iter().chain(case.split(' ')).collect();
        let error = build(folder.path(), &args).unwrap_err();
        assert!(error.contains(want), "`{case}`: no `{want}` in {error}");
        assert!(!folder.path().join("t.ftt.parts").exists(), "{case}");
    }
}
