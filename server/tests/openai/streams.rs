//! Streamed answers.

use foretoken_server::request::Finish;
use serde_json::{Value, json};

use crate::{CHAT, COMPLETIONS, Door, events, next, one_token, support};

/// All objects of a stream that must be a good one.
pub(crate) async fn stream(door: &Door, path: &str, body: &Value) -> Vec<Value> {
    let mut data = events(door.post(path, body).send().await.unwrap()).await;
    assert_eq!(data.pop().as_deref(), Some("[DONE]"));
    let parse = |data: &String| serde_json::from_str(data).unwrap();
    data.iter().map(parse).collect()
}

#[tokio::test]
async fn a_stream_is_the_whole_answer_in_pieces() {
    let door = Door::echoing().await;
    let said = "Grüße, 世界! 🦀";
    let completion = json!({"prompt": said});
    let chat = json!({"messages": [{"role": "user", "content": said}]});
    for (path, mut body, whole, piece) in [
        (COMPLETIONS, completion, "/text", "/text"),
        (CHAT, chat, "/message/content", "/delta/content"),
    ] {
        body["max_tokens"] = json!(40);
        let answer = door.ask(path, &body).await;
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let objects = stream(&door, path, &body).await;
        let pieces = objects
            .iter()
            .map(|object| object["choices"][0].pointer(piece));
        let text: String = pieces.flatten().filter_map(Value::as_str).collect();
        assert!(text.contains(said), "{path}: {text}");
        assert_eq!(answer["choices"][0].pointer(whole), Some(&json!(text)));
        assert_eq!(answer["usage"], objects.last().unwrap()["usage"], "{path}");
    }
}

#[tokio::test]
async fn a_chat_opens_with_the_role_and_closes_with_the_reason() {
    let door = Door::echoing().await;
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let body = json!({"messages": messages, "max_tokens": 9, "stream": true});
    let objects = stream(&door, CHAT, &body).await;
    let (first, last) = (&objects[0], objects.last().unwrap());
    assert_eq!(
        first["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(last["timings"]["predicted_n"], 9);
    for object in &objects {
        assert_eq!(object["object"], "chat.completion.chunk");
        assert!(object.get("usage").is_none(), "{object}");
        for same in ["id", "created", "model", "seed"] {
            assert_eq!(object[same], first[same], "{same}");
        }
    }
}

#[tokio::test]
async fn usage_comes_last_and_with_no_choices_if_asked_for() {
    let door = Door::echoing().await;
    let body = json!({
        "prompt": [20, 21],
        "max_tokens": 9,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let mut objects = stream(&door, COMPLETIONS, &body).await;
    let last = objects.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 2);
    assert_eq!(last["usage"]["completion_tokens"], 9);
    assert_eq!(last["timings"]["draft_n_accepted"], 6);
    let choice = &objects.last().unwrap()["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    for object in &objects {
        assert_eq!(object["usage"], Value::Null);
        assert!(object.get("timings").is_none(), "{object}");
    }
}

#[tokio::test]
async fn usage_grows_from_piece_to_piece_if_asked_for() {
    let door = Door::echoing().await;
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let prompt = json!({"prompt": [20, 21]});
    for (path, mut body, opening) in [
        (COMPLETIONS, prompt, None),
        (CHAT, json!({"messages": messages}), Some(0)),
    ] {
        body["max_tokens"] = json!(7);
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
        let objects = stream(&door, path, &body).await;
        let num_prompt_tokens = objects[0]["usage"]["prompt_tokens"].as_u64().unwrap();
        let mut counts = Vec::new();
        for object in &objects {
            let usage = &object["usage"];
            let count = usage["completion_tokens"].as_u64().unwrap();
            assert_eq!(usage["prompt_tokens"], num_prompt_tokens);
            assert_eq!(usage["total_tokens"], num_prompt_tokens + count);
            counts.push(count);
        }
        // The engine takes three tokens a step; the last one's piece is followed by the reason and by the usage.
        let expected: Vec<u64> = opening.into_iter().chain([3, 6, 7, 7, 7]).collect();
        assert_eq!(counts, expected, "{path}: {objects:?}");
    }
}

#[tokio::test]
async fn every_reason_to_stop_has_its_word() {
    for (finish, word) in [
        (Finish::Length, "length"),
        (Finish::Eos(2), "stop"),
        (Finish::StopToken(40), "stop"),
        (Finish::StopString("x".to_owned()), "stop"),
    ] {
        let (frontend, mut inbox) = support::frontend(1);
        let door = Door::open(&frontend, None).await;
        let engine = async {
            let request = next(&mut inbox).await;
            request.events.try_send(one_token(Some(finish))).unwrap();
        };
        let body = json!({"prompt": [20], "stream": true});
        let (objects, ()) = tokio::join!(stream(&door, COMPLETIONS, &body), engine);
        assert_eq!(objects.last().unwrap()["choices"][0]["finish_reason"], word);
    }
}

#[tokio::test]
async fn an_engine_that_dies_ends_the_stream_with_an_error() {
    let (frontend, mut inbox) = support::frontend(1);
    let door = Door::open(&frontend, None).await;
    let engine = async {
        let request = next(&mut inbox).await;
        request.events.try_send(one_token(None)).unwrap();
    };
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let request = async { events(door.post(CHAT, &body).send().await.unwrap()).await };
    let (data, ()) = tokio::join!(request, engine);
    let last: Value = serde_json::from_str(data.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "engine_failed");
    assert_eq!(last["error"]["type"], "server_error");
    assert!(data.len() > 1, "what came before is not lost: {data:?}");
}
