//! Whole answers.

use serde_json::{Value, json};

use crate::{CHAT, COMPLETIONS, Door, support};

#[tokio::test]
async fn a_completion_has_the_shape_that_clients_know() {
    let door = Door::echoing().await;
    let body = json!({"model": "demo", "prompt": [20, 21, 22], "max_tokens": 6, "seed": 7});
    let answer = door.ask(COMPLETIONS, &body).await;
    assert!(
        answer["id"].as_str().unwrap().starts_with("cmpl-"),
        "{answer}"
    );
    assert!(
        answer["created"].as_u64().unwrap() > 1_700_000_000,
        "{answer}"
    );
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["model"], "demo");
    assert_eq!(answer["seed"], 7);
    assert!(answer["system_fingerprint"].is_string());
    let choice = &answer["choices"][0];
    assert!(choice["text"].is_string(), "{answer}");
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["finish_reason"], "length");
    // What is guessed is none of the client's own.
    assert_eq!(
        answer["usage"],
        json!({
            "prompt_tokens": 3,
            "completion_tokens": 6,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    );
}

#[tokio::test]
async fn a_chat_has_the_shape_that_clients_know() {
    let door = Door::echoing().await;
    let body = json!({"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 4});
    let answer = door.ask(CHAT, &body).await;
    assert!(
        answer["id"].as_str().unwrap().starts_with("chatcmpl-"),
        "{answer}"
    );
    assert_eq!(answer["object"], "chat.completion");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["content"].is_string(), "{answer}");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn a_stop_string_ends_the_text_before_it_or_after_it() {
    let door = Door::echoing().await;
    for (include, text) in [(false, "Hello, "), (true, "Hello, world")] {
        let body = json!({
            "prompt": "Hello, world! ", "stop": ["never", "world"], "include_stop_str_in_output": include,
        });
        let answer = door.ask(COMPLETIONS, &body).await;
        let choice = &answer["choices"][0];
        assert_eq!(choice["text"], text);
        assert_eq!(choice["finish_reason"], "stop");
        assert_eq!(answer["usage"]["completion_tokens"], 3, "{answer}");
    }
}

#[tokio::test]
async fn timings_are_those_of_llama_cpp() {
    let door = Door::echoing().await;
    let body = json!({"prompt": [20, 21, 22], "max_tokens": 6});
    let timings = &door.ask(COMPLETIONS, &body).await["timings"];
    for (name, value) in [
        ("cache_n", 0),
        ("prompt_n", 3),
        ("predicted_n", 6),
        ("draft_n", 4),
        ("draft_n_accepted", 4),
    ] {
        assert_eq!(timings[name], value, "{name}");
    }
    for kind in ["prompt", "predicted"] {
        for unit in ["ms", "per_token_ms", "per_second"] {
            let name = format!("{kind}_{unit}");
            assert!(timings[&name].as_f64().is_some(), "{name}: {timings}");
        }
    }
}

#[tokio::test]
async fn a_seed_is_its_own_whatever_its_sign_and_a_given_one_can_be_sent_again() {
    let door = Door::echoing().await;
    let seed = async |seed: Value| {
        let body = json!({"prompt": [20], "max_tokens": 1, "seed": seed});
        door.ask(COMPLETIONS, &body).await["seed"].clone()
    };
    for (sent, used) in [
        (json!(0), json!(0)),
        (json!(-1), json!(-1)),
        (json!(u64::MAX), json!(-1)),
        (json!(i64::MIN), json!(i64::MIN)),
        (json!(i64::MAX), json!(i64::MAX)),
    ] {
        assert_eq!(seed(sent).await, used);
    }
    let (one, other) = (seed(Value::Null).await, seed(Value::Null).await);
    assert_ne!(one, other);
    assert!(one.as_u64().unwrap() < 1 << 53, "{one}");
    assert_eq!(seed(one.clone()).await, one);
}

#[tokio::test]
async fn text_and_tokens_turn_into_each_other() {
    let door = Door::echoing().await;
    let text = "Grüße, 世界!";
    let answer = door
        .ask(
            "/tokenize",
            &json!({"prompt": text, "add_special_tokens": false}),
        )
        .await;
    let tokens = answer["tokens"].as_array().unwrap();
    assert_eq!(answer["count"], tokens.len());
    assert_eq!(answer["max_model_len"], support::MAX_MODEL_LEN);
    let back = door
        .ask("/detokenize", &json!({"model": "demo", "tokens": tokens}))
        .await;
    assert_eq!(back, json!({"prompt": text}));
}
