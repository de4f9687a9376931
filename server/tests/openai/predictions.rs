//! What a client expects to be answered: how it is read, and how it is counted.

use foretoken_draft::PREDICTION;
use foretoken_model::Token;
use foretoken_server::request::{Emitted, Event, Finish, Request, Stats};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{CHAT, COMPLETIONS, Door, assert_error, next, read, support};

/// A request that predicts; what it asks is of no matter here.
fn body(path: &str, prediction: &Value) -> Value {
    let mut body = json!({"max_tokens": 9, "prediction": prediction});
    match path {
        CHAT => body["messages"] = json!([{"role": "user", "content": "Hello!"}]),
        _ => body["prompt"] = json!([20]),
    }
    body
}

/// The prediction of the next request, on which the engine then hangs up.
async fn prediction(inbox: &mut UnboundedReceiver<Request>) -> Vec<Token> {
    next(inbox).await.prediction.to_vec()
}

#[tokio::test]
async fn a_prediction_reaches_the_engine_as_tokens_without_special_ones() {
    let (frontend, mut inbox) = support::frontend(8);
    let door = Door::open(&frontend, None).await;
    let parts = ["Once upon", " a time"].map(|text| json!({"type": "text", "text": text}));
    for (content, text) in [
        (Value::Null, ""),
        (json!({"type": "content", "content": ""}), ""),
        (
            json!({"type": "content", "content": "Once upon a time"}),
            "Once upon a time",
        ),
        (
            json!({"type": "content", "content": parts}),
            "Once upon a time",
        ),
    ] {
        for path in [CHAT, COMPLETIONS] {
            let body = body(path, &content);
            let (got, _) = tokio::join!(prediction(&mut inbox), read(door.post(path, &body)));
            let tokens = frontend.model().tokenizer.encode(text, false).unwrap();
            assert_eq!(got, tokens, "{content}");
        }
    }
}

#[tokio::test]
async fn a_prediction_that_cannot_be_is_refused_with_its_field() {
    let door = Door::echoing().await;
    let content = |content| json!({"type": "content", "content": content});
    let long = content(json!(" the".repeat(300)));
    let part = |part| content(json!([part]));
    for (prediction, code, name, message) in [
        (json!("a"), "invalid_value", "prediction", "object"),
        (
            json!({}),
            "missing_required_parameter",
            "prediction.type",
            "missing",
        ),
        (
            json!({"type": "tree"}),
            "invalid_value",
            "prediction.type",
            "is `tree`",
        ),
        (
            json!({"type": "content"}),
            "missing_required_parameter",
            "prediction.content",
            "missing",
        ),
        (
            content(json!(5)),
            "invalid_value",
            "prediction.content",
            "neither",
        ),
        (
            part(json!({"type": "image"})),
            "invalid_value",
            "prediction.content[0].type",
            "is `image`",
        ),
        (
            json!({"type": "content", "content": "a", "x": 1}),
            "unknown_parameter",
            "prediction.x",
            "not a field",
        ),
        (
            long,
            "invalid_value",
            "prediction",
            "has 300 tokens, expected at most 256",
        ),
    ] {
        for path in [CHAT, COMPLETIONS] {
            let answer = read(door.post(path, &body(path, &prediction))).await;
            assert_error(answer, 400, code, Some(name), message);
        }
    }
}

#[tokio::test]
async fn usage_counts_the_clients_own_tokens_up_to_a_stop_string() {
    let (frontend, mut inbox) = support::frontend(8);
    let door = Door::open(&frontend, None).await;
    let emitted = |token, source| Emitted {
        token,
        source,
        logprobs: None,
    };
    let tokens = frontend
        .model()
        .tokenizer
        .encode(" one two three", false)
        .unwrap();
    let event = Event {
        tokens: vec![
            emitted(tokens[0], Some(PREDICTION)),
            emitted(tokens[1], Some("lookup")),
            emitted(tokens[2], Some(PREDICTION)),
            emitted(20, None),
        ],
        stats: Stats {
            num_steps: 1,
            num_drafts: 1,
            num_draft_tokens: 8,
            num_accepted_tokens: 3,
            num_prediction_tokens: 5,
            num_accepted_prediction_tokens: 2,
            accepted_per_pos: vec![1; 3],
            ..Stats::default()
        },
        finish: Some(Finish::Length),
    };
    // Accepted and rejected tokens of the prediction, and accepted draft tokens.
    for (stop, accepted, rejected, kept) in [(json!(null), 2, 3, 3), (json!(" two"), 1, 4, 2)] {
        let mut body = body(COMPLETIONS, &json!({"type": "content", "content": "a"}));
        body["stop"] = stop;
        let engine = async {
            let request = next(&mut inbox).await;
            request.events.send(event.clone()).await.unwrap();
        };
        let (_, (_, answer)) = tokio::join!(engine, read(door.post(COMPLETIONS, &body)));
        let details = &answer["usage"]["completion_tokens_details"];
        assert_eq!(details["accepted_prediction_tokens"], accepted, "{answer}");
        assert_eq!(details["rejected_prediction_tokens"], rejected, "{answer}");
        assert_eq!(answer["timings"]["draft_n"], 8);
        assert_eq!(answer["timings"]["draft_n_accepted"], kept);
        assert_eq!(answer["usage"]["prompt_tokens"], 1);
    }
}
