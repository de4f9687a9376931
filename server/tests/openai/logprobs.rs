//! Log probabilities in completions and chats.

use serde_json::{Value, json};

use crate::streams::stream;
use crate::{CHAT, COMPLETIONS, Door, assert_error, read};

const TEXT: &str = "Grüße, 世界! 🦀 Ende";

/// A body for either endpoint that says `text`.
fn body(path: &str, text: &str, max_tokens: u32) -> Value {
    match path {
        CHAT => json!({"messages": [{"role": "user", "content": text}], "max_tokens": max_tokens,
            "skip_special_tokens": false, "logprobs": true, "top_logprobs": 2}),
        _ => {
            json!({"prompt": text, "max_tokens": max_tokens, "skip_special_tokens": false, "logprobs": 2})
        }
    }
}

/// The text of an object's choice and its log probabilities.
fn parts(object: &Value) -> (&str, &Value) {
    let choice = &object["choices"][0];
    let text = ["/text", "/message/content", "/delta/content"];
    let text = text.into_iter().find_map(|place| choice.pointer(place));
    (
        text.and_then(Value::as_str).unwrap_or(""),
        &choice["logprobs"],
    )
}

/// The bytes of the tokens that are told of.
fn bytes(logprobs: &Value) -> Vec<u8> {
    let entries = logprobs["content"].as_array().into_iter().flatten();
    let bytes = entries.flat_map(|entry| entry["bytes"].as_array().unwrap());
    bytes.map(|byte| byte.as_u64().unwrap() as u8).collect()
}

#[tokio::test]
async fn a_chat_tells_each_token_with_its_bytes_and_rivals() {
    let door = Door::echoing().await;
    let answer = door.ask(CHAT, &body(CHAT, TEXT, 40)).await;
    let (text, logprobs) = parts(&answer);
    assert_eq!(logprobs["refusal"], Value::Null);
    let content = logprobs["content"].as_array().unwrap();
    assert_eq!(content.len(), 40);
    let mut num_broken = 0;
    for entry in content {
        assert_eq!(entry["logprob"], -1.0);
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        for name in ["token", "logprob", "bytes"] {
            assert_eq!(top[0][name], entry[name], "the scripted engine's likeliest");
        }
        assert_eq!(top[1]["logprob"], -2.0);
        let token = entry["token"].as_str().unwrap();
        let bytes = bytes(&json!({"content": [entry]}));
        match String::from_utf8(bytes) {
            Ok(whole) => assert_eq!(whole, token),
            Err(part) => {
                num_broken += 1;
                let escaped: Vec<String> = part
                    .as_bytes()
                    .iter()
                    .map(|byte| format!("\\x{byte:02x}"))
                    .collect();
                assert_eq!(token, escaped.concat());
            }
        }
    }
    assert!(num_broken > 1, "a crab is more than one token: {content:?}");
    // The last of the 40 tokens is half a character.
    let whole = bytes(logprobs);
    let whole = String::from_utf8_lossy(&whole);
    assert!(whole.contains(TEXT));
    assert_eq!(whole, text);
}

#[tokio::test]
async fn a_completion_tells_them_in_columns() {
    let door = Door::echoing().await;
    for (asked, num_top) in [(0, 1), (1, 1), (2, 2), (20, 20)] {
        let mut body = body(COMPLETIONS, TEXT, 15);
        body["logprobs"] = json!(asked);
        let answer = door.ask(COMPLETIONS, &body).await;
        let (text, logprobs) = parts(&answer);
        let column = |name: &str| logprobs[name].as_array().unwrap().clone();
        let (tokens, offsets) = (column("tokens"), column("text_offset"));
        assert_eq!(tokens.len(), 15);
        assert_eq!(column("token_logprobs"), vec![json!(-1.0); 15]);
        for ((token, offset), top) in tokens.iter().zip(&offsets).zip(column("top_logprobs")) {
            let (token, offset) = (token.as_str().unwrap(), offset.as_u64().unwrap() as usize);
            assert_eq!(top[token], -1.0, "the token itself is always there");
            // Two unprintable tokens may have one name.
            assert!(top.as_object().unwrap().len() <= num_top);
            let rest: String = text.chars().skip(offset).collect();
            assert!(
                token.starts_with("bytes:\\x") || rest.starts_with(token),
                "{token:?} at {offset} of {text:?}"
            );
        }
    }
}

#[tokio::test]
async fn who_does_not_ask_is_told_nothing() {
    let door = Door::echoing().await;
    for (path, mut body) in [COMPLETIONS, CHAT].map(|path| (path, body(path, TEXT, 5))) {
        for off in [json!(false), Value::Null] {
            body["logprobs"] = off;
            body["top_logprobs"] = json!(0);
            assert_eq!(parts(&door.ask(path, &body).await).1, &Value::Null);
        }
    }
}

/// Text never comes later than what is told of it, and never with anything missing.
#[tokio::test]
async fn a_stream_tells_the_same_in_step_with_the_text() {
    let door = Door::echoing().await;
    for path in [COMPLETIONS, CHAT] {
        for stop in [
            json!([]),
            json!(["🦀 E"]),
            json!(["世界? ", "界! 🦀 Ende..."]),
        ] {
            let mut body = body(path, TEXT, 34);
            body["stop"] = stop;
            let answer = door.ask(path, &body).await;
            body["stream"] = json!(true);
            let (mut text, mut told) = (String::new(), Vec::new());
            let mut joined = json!({});
            for object in stream(&door, path, &body).await {
                let (piece, logprobs) = parts(&object);
                text.push_str(piece);
                told.extend(bytes(logprobs));
                let is_last = object["choices"][0]["finish_reason"].is_string();
                let stopped = answer["choices"][0]["finish_reason"] == "stop";
                assert!(
                    is_last || stopped || text.as_bytes().starts_with(&told),
                    "{text}"
                );
                for (name, column) in logprobs.as_object().into_iter().flatten() {
                    let column = column.as_array().cloned().unwrap_or_default();
                    let mut whole = joined[name].as_array().cloned().unwrap_or_default();
                    whole.extend(column);
                    joined[name] = json!(whole);
                }
            }
            let (whole, mut logprobs) = (parts(&answer).0, parts(&answer).1.clone());
            if path == CHAT {
                logprobs["refusal"] = json!([]);
            }
            assert_eq!((text.as_str(), &joined), (whole, &logprobs), "{body}");
        }
    }
}

#[tokio::test]
async fn what_lies_behind_a_stop_string_is_not_told() {
    let door = Door::echoing().await;
    for (path, column) in [(COMPLETIONS, "tokens"), (CHAT, "content")] {
        let mut body = body(path, "Hello, world! and more, and more", 60);
        body["stop"] = json!(["world"]);
        let answer = door.ask(path, &body).await;
        let told = parts(&answer).1[column].as_array().unwrap().len();
        assert_eq!(answer["usage"]["completion_tokens"], told, "{answer}");
        assert!(told < 60);
    }
}

#[tokio::test]
async fn an_echo_is_the_prompt_before_the_answer() {
    let door = Door::echoing().await;
    let tokens = json!({"prompt": "Hello, world!"});
    let tokens = door.ask("/tokenize", &tokens).await["tokens"].clone();
    for prompt in [json!("Hello, world!"), tokens] {
        let mut body = json!({"prompt": prompt, "max_tokens": 2, "echo": true});
        let answer = door.ask(COMPLETIONS, &body).await;
        assert_eq!(parts(&answer).0, "Hello, world!Hello,");
        assert_eq!(answer["usage"]["completion_tokens"], 2);
        body["stream"] = json!(true);
        let objects = stream(&door, COMPLETIONS, &body).await;
        assert_eq!(parts(&objects[0]).0, "Hello, world!");
        let text: String = objects.iter().map(|object| parts(object).0).collect();
        assert_eq!(text, "Hello, world!Hello,");
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_by_name() {
    let door = Door::echoing().await;
    for (path, fields, name, message) in [
        (
            COMPLETIONS,
            json!({"logprobs": 21}),
            "logprobs",
            "is 21, expected 0 to 20",
        ),
        (COMPLETIONS, json!({"logprobs": -1}), "logprobs", "-1"),
        (COMPLETIONS, json!({"logprobs": true}), "logprobs", "true"),
        (
            COMPLETIONS,
            json!({"echo": true, "logprobs": 0}),
            "echo",
            "beside `logprobs`",
        ),
        (COMPLETIONS, json!({"echo": 1}), "echo", "1"),
        (CHAT, json!({"logprobs": 3}), "logprobs", "3"),
        (
            CHAT,
            json!({"logprobs": false}),
            "top_logprobs",
            "is 2, but is for",
        ),
        (
            CHAT,
            json!({"top_logprobs": 21}),
            "top_logprobs",
            "is 21, expected 0 to 20",
        ),
        (CHAT, json!({"top_logprobs": -1}), "top_logprobs", "-1"),
    ] {
        let mut body = body(path, TEXT, 4);
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let answer = read(door.post(path, &body)).await;
        assert_error(answer, 400, "invalid_value", Some(name), message);
    }
    for (path, name) in [(CHAT, "echo"), (COMPLETIONS, "top_logprobs")] {
        let mut body = body(path, TEXT, 4);
        body[name] = if name == "echo" {
            json!(true)
        } else {
            json!(2)
        };
        let answer = read(door.post(path, &body)).await;
        assert_error(
            answer,
            400,
            "unsupported_parameter",
            Some(name),
            "not supported",
        );
    }
}
