//! Streamed text is the text of one decode, whatever the tokens, cut at the stop string a reader would meet first.

#![cfg(test)]

use std::sync::{Arc, LazyLock};

use foretoken_model::{Token, Tokenizer};
use foretoken_server::detokenize::TextStream;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, json};

fn load(model: &str) -> Arc<Tokenizer> {
    let path = format!(
        "{}/../model/{model}/tokenizer.json",
        env!("CARGO_MANIFEST_DIR")
    );
    Arc::new(Tokenizer::from_bytes(&std::fs::read(path).unwrap()).unwrap())
}

/// Byte-level.
static DEMO: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| load("demo"));

/// Sentencepiece-style: a space in front, and bytes as tokens where it knows no other.
static LLAMA: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| load("tests/stories260K"));

/// A byte-level tokenizer that has just these tokens, and their ids.
fn byte_level(pieces: &[&[u8]]) -> (Arc<Tokenizer>, Vec<Token>) {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let (plain, shifted): (Vec<u8>, Vec<u8>) = (0..=255).partition(|&byte| printable(byte));
    let mut chars = ['\0'; 256];
    (plain.iter()).for_each(|&byte| chars[byte as usize] = byte.into());
    (shifted.iter().zip('\u{100}'..)).for_each(|(&byte, c)| chars[byte as usize] = c);
    let mut vocab = Map::new();
    let mut tokens = Vec::new();
    for piece in pieces {
        let content: String = piece.iter().map(|&byte| chars[byte as usize]).collect();
        let next = vocab.len() as Token;
        let id = vocab.entry(content).or_insert(next.into());
        tokens.push(id.as_u64().unwrap() as Token);
    }
    let decoder = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let model = json!({ "type": "BPE", "vocab": vocab, "merges": [] });
    let json = json!({ "version": "1.0", "added_tokens": [], "decoder": decoder, "model": model });
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    (Arc::new(tokenizer), tokens)
}

/// The text after each token, and at the end.
fn stream(tokenizer: &Arc<Tokenizer>, tokens: &[Token]) -> (Vec<String>, String) {
    let mut stream = TextStream::new(Arc::clone(tokenizer), vec![], false, true);
    let mut text = String::new();
    let mut push = |token: &Token| {
        text.push_str(&stream.push(*token).text);
        text.clone()
    };
    let texts = tokens.iter().map(&mut push).collect();
    text.push_str(&stream.finish());
    (texts, text)
}

/// The text and the stop string, and how many tokens it took.
fn stop(
    tokenizer: &Arc<Tokenizer>,
    tokens: &[Token],
    stops: &[&str],
    include: bool,
) -> (String, Option<String>, usize) {
    let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
    let mut stream = TextStream::new(Arc::clone(tokenizer), stops, include, true);
    let mut text = String::new();
    for (index, &token) in tokens.iter().enumerate() {
        let pushed = stream.push(token);
        text.push_str(&pushed.text);
        if pushed.stop.is_some() {
            return (text, pushed.stop, index + 1);
        }
    }
    text.push_str(&stream.finish());
    (text, None, tokens.len())
}

#[test]
fn text_leaves_with_the_token_that_completes_it() {
    let cases: [(_, &[&str], &[&str]); 8] = [
        (&DEMO, &["ð", "Ł", "¦", "Ģ", "!"], &["", "", "", "🦀", "!"]),
        (&DEMO, &["ð", "Ł", "a", "Ģ"], &["", "", "\u{FFFD}a", ""]),
        (&DEMO, &["a", "<|im_end|>", "Ġ", "a"], &["a", "", " ", "a"]),
        (&LLAMA, &["▁the", "▁the"], &["the", " the"]),
        (&LLAMA, &["▁", "▁", "e"], &["", " ", "e"]),
        (
            &LLAMA,
            &["</s>", "▁", "</s>", "▁the"],
            &["", "", "", " the"],
        ),
        (
            &LLAMA,
            &["<0xE4>", "<0xBD>", "<0xA0>", "<0xC3>", "<0xA9>", "e"],
            &["", "", "你", "", "é", "e"],
        ),
        // A whole decode would take the first character back.
        (
            &LLAMA,
            &["<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "e"],
            &["", "", "你", "", "\u{FFFD}e"],
        ),
    ];
    for (tokenizer, contents, expected) in cases {
        let id = |content: &&str| tokenizer.token_to_id(content).unwrap();
        let tokens: Vec<Token> = contents.iter().map(id).collect();
        let mut stream = TextStream::new(Arc::clone(tokenizer), vec![], false, true);
        let texts: Vec<String> = tokens
            .iter()
            .map(|&token| stream.push(token).text)
            .collect();
        assert_eq!(texts, expected, "{contents:?}");
    }
}

/// The window has lost the broken byte by the time that the run would end.
#[test]
fn long_runs_recover_from_a_broken_byte() {
    let bytes = [0xFF].into_iter().chain("你".repeat(20).into_bytes());
    let tokens: Vec<Token> = bytes.map(|byte| Token::from(byte) + 3).collect();
    let (_, text) = stream(&LLAMA, &tokens);
    let num_bytes = |c| if c == '你' { 3 } else { 1 };
    assert_eq!(
        text.chars().map(num_bytes).sum::<usize>(),
        tokens.len(),
        "{text}"
    );
    assert!(
        text.starts_with('\u{FFFD}') && text.ends_with("你你"),
        "{text}"
    );
}

#[test]
fn special_tokens_and_unknown_ids() {
    for (skip, expected) in [(true, "a b"), (false, "a<|im_end|> b")] {
        let mut stream = TextStream::new(Arc::clone(&DEMO), vec![], false, skip);
        let tokens = ["a", "<|im_end|>", "Ġb"].map(|content| DEMO.token_to_id(content).unwrap());
        let text: String = (tokens.iter().flat_map(|&token| [token, u32::MAX]))
            .map(|token| stream.push(token).text)
            .collect();
        assert_eq!(text + &stream.finish(), expected);
    }
}

/// Tokens, stop strings, text to the start and to the end of the stop string, which one it is, tokens taken.
type StopCase<'a> = (
    &'a [&'a str],
    &'a [&'a str],
    &'a str,
    &'a str,
    Option<&'a str>,
    usize,
);

#[test]
fn stop_strings_cut() {
    let cases: [StopCase<'_>; 12] = [
        (&["a", "b", "c"], &[], "abc", "abc", None, 3),
        (&["a", "b", "c"], &["d", "cd"], "abc", "abc", None, 3),
        (&["a", "b", "c"], &["b"], "a", "ab", Some("b"), 2),
        (&["abc", "a"], &["b"], "a", "ab", Some("b"), 1),
        (&["ab", "cab"], &["bc"], "a", "abc", Some("bc"), 2),
        (
            &["a", "b", "a", "b", "c"],
            &["abc"],
            "ab",
            "ababc",
            Some("abc"),
            5,
        ),
        // The first to be complete, however the tokens are cut.
        (&["a", "b", "c"], &["abc", "b"], "a", "ab", Some("b"), 2),
        (&["abc"], &["abc", "b"], "a", "ab", Some("b"), 1),
        // The longest of those that are complete at once.
        (&["a", "b", "c"], &["c", "bc"], "a", "abc", Some("bc"), 3),
        (&["abc"], &["c", "bc"], "a", "abc", Some("bc"), 1),
        // What was held back leaves when it comes to nothing.
        (
            &["a", "b", "ab", "c"],
            &["abab!", "bb"],
            "ababc",
            "ababc",
            None,
            4,
        ),
        (&["bca", "b"], &["ca!", "abb"], "bcab", "bcab", None, 2),
    ];
    for (pieces, stops, without, with, found, taken) in cases {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let (tokenizer, tokens) = byte_level(&pieces);
        for (include, text) in [(false, without), (true, with)] {
            let expected = (text.to_owned(), found.map(str::to_owned), taken);
            let got = stop(&tokenizer, &tokens, stops, include);
            assert_eq!(got, expected, "{tokens:?} until {stops:?}, {include}");
        }
    }
}

#[test]
fn nothing_leaves_after_a_stop_string() {
    let (tokenizer, tokens) = byte_level(&[b"ab\xF0"]);
    let mut stream = TextStream::new(tokenizer, vec!["b".to_owned()], false, true);
    assert_eq!(stream.push(tokens[0]).text, "a");
    assert_eq!(stream.finish(), "");
}

/// Arbitrary text, and text with long runs beyond ASCII.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z ]{0,20}[你好世界é🦀👩\u{200D}\n ]{0,40}[a-z ]{0,20}",
    ]
}

/// Floods of tokens that `bytes` gives, and the same among others of the vocabulary.
fn any_tokens(bytes: BoxedStrategy<Token>, vocab_size: Token) -> impl Strategy<Value = Vec<Token>> {
    prop_oneof![
        vec(bytes.clone(), 0..80),
        vec(prop_oneof![bytes, 0..vocab_size], 0..80),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_streams_whole(text in text()) {
        for tokenizer in [&*DEMO, &*LLAMA] {
            // With byte fallback, U+FFFD itself cannot be told from half a character.
            let text = text.replace('\u{FFFD}', "");
            let tokens = tokenizer.encode(&text, false).unwrap();
            let (texts, whole) = stream(tokenizer, &tokens);
            prop_assert_eq!(&whole, &tokenizer.decode(&tokens, true).unwrap());
            for so_far in texts {
                prop_assert!(whole.starts_with(&so_far));
            }
        }
    }

    /// Among them bytes beyond ASCII, in any order.
    #[test]
    fn any_tokens_stream_whole(tokens in any_tokens(prop_oneof![98..192_u32, 226..260_u32].boxed(), 8192)) {
        let tokenizer = &*DEMO;
        let (texts, whole) = stream(tokenizer, &tokens);
        prop_assert_eq!(&whole, &tokenizer.decode(&tokens, true).unwrap());
        for so_far in texts {
            prop_assert!(whole.starts_with(&so_far));
        }
    }

    /// Byte fallback: words, whole characters in bytes, and runs of bytes that are broken from their start.
    #[test]
    fn words_and_runs_of_bytes_stream_whole(
        parts in vec((vec(259..512_u32, 1..4), "[你é🦀\n]{0,6}", prop::option::of(vec(3..259_u32, 0..6))), 0..8)
    ) {
        let tokenizer = &*LLAMA;
        let byte = |byte: u8| Token::from(byte) + 3;
        let mut tokens = Vec::new();
        for (words, chars, broken) in parts {
            tokens.extend(&words);
            match broken {
                Some(broken) => tokens.extend([byte(0xFF)].iter().chain(&broken)),
                None => tokens.extend(chars.bytes().map(byte)),
            }
        }
        let (_, whole) = stream(tokenizer, &tokens);
        prop_assert_eq!(whole, tokenizer.decode(&tokens, true).unwrap());
    }

    /// Nothing is lost, stuck or fatal where a whole decode takes characters back.
    #[test]
    fn any_bytes_stream(tokens in any_tokens((3..259_u32).boxed(), 600)) {
        let tokenizer = &*LLAMA;
        let (_, streamed) = stream(tokenizer, &tokens);
        let whole = tokenizer.decode(&tokens, true).unwrap();
        let ascii = |text: &str| text.chars().filter(char::is_ascii_alphabetic).count();
        prop_assert!(ascii(&streamed) >= ascii(&whole), "{streamed:?} {whole:?}");
    }

    /// Characters leave as soon as their last byte is there, wherever tokens cut the bytes.
    #[test]
    fn any_cut_of_the_bytes(text in text(), sizes in vec(1..6_usize, 1..20)) {
        let text = text.replace('\u{FFFD}', "");
        let mut pieces = Vec::new();
        let mut rest = text.as_bytes();
        for &size in sizes.iter().cycle().take(text.len()) {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.retain(|piece| !piece.is_empty());
        let (tokenizer, tokens) = byte_level(&pieces);
        let (texts, whole) = stream(&tokenizer, &tokens);
        prop_assert_eq!(&whole, &text);
        let mut num_bytes = 0;
        for (piece, so_far) in pieces.iter().zip(texts) {
            num_bytes += piece.len();
            let complete = text.as_bytes()[..num_bytes].utf8_chunks().next().map_or("", |chunk| chunk.valid());
            prop_assert_eq!(so_far, complete);
        }
    }

    /// A reader who goes character by character, over the whole text, finds the same end.
    #[test]
    fn stop_strings_cut_where_a_reader_would(
        text in "[ab你🦀]{0,24}", stops in vec("[ab你🦀]{1,4}", 0..4), include in any::<bool>(), sentencepiece in any::<bool>()
    ) {
        let tokenizer = if sentencepiece { &*LLAMA } else { &*DEMO };
        let tokens = tokenizer.encode(&text, false).unwrap();
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let ends = (0..=text.len()).filter(|&end| text.is_char_boundary(end));
        let found = ends.map(|end| &text[..end]).find_map(|read| {
            let complete = stops.iter().filter(|stop| read.ends_with(**stop));
            complete.max_by_key(|stop| stop.len()).map(|stop| (read, *stop))
        });
        let (got, got_stop, _) = stop(tokenizer, &tokens, &stops, include);
        prop_assert_eq!(got_stop.as_deref(), found.map(|(_, stop)| stop));
        let expected = match found {
            None => text.as_str(),
            Some((read, _)) if include => read,
            Some((read, stop)) => &read[..read.len() - stop.len()],
        };
        prop_assert_eq!(got, expected);
    }
}
