//! Prompts: their many spellings, and those that cannot be continued.

use serde_json::{Value, json};

use crate::streams::stream;
use crate::{CHAT, COMPLETIONS, Door, assert_error, read};

#[tokio::test]
async fn a_prompt_may_be_text_or_tokens_or_an_array_of_one_such() {
    let door = Door::echoing().await;
    for (prompt, num_tokens) in [
        (json!([20, 21]), 2),
        (json!([[20, 21]]), 2),
        (json!("Hello, world!"), 4),
        (json!(["Hello, world!"]), 4),
    ] {
        let body = json!({"prompt": prompt, "max_tokens": 1});
        let answer = door.ask(COMPLETIONS, &body).await;
        assert_eq!(answer["usage"]["prompt_tokens"], num_tokens, "{prompt}");
    }
}

#[tokio::test]
async fn several_prompts_are_answered_in_order_each_as_often_as_asked() {
    let door = Door::echoing().await;
    let words = ["Hello, world!", "Good", " morning"];
    let alone = async |word: &str| {
        let body = json!({"prompt": word, "max_tokens": 4, "echo": true});
        door.ask(COMPLETIONS, &body).await
    };
    let answers = [
        alone(words[0]).await,
        alone(words[1]).await,
        alone(words[2]).await,
    ];
    let sum = |count: &str| -> u64 {
        let counts = answers.iter().map(|answer| answer["usage"][count].as_u64());
        counts.map(Option::unwrap).sum()
    };
    let mut body = json!({"prompt": words, "max_tokens": 4, "echo": true, "n": 2, "seed": 7});
    let several = door.ask(COMPLETIONS, &body).await;
    let choices = several["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 6);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["text"], answers[index / 2]["choices"][0]["text"]);
    }
    let mut seeds: Vec<i64> = (choices.iter())
        .map(|choice| choice["seed"].as_i64().unwrap())
        .collect();
    assert_eq!(seeds[0], 7);
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 6);
    let usage = &several["usage"];
    assert_eq!(usage["prompt_tokens"], sum("prompt_tokens"));
    assert_eq!(usage["completion_tokens"], 2 * sum("completion_tokens"));

    body["stream"] = json!(true);
    let mut texts = vec![String::new(); 6];
    for object in stream(&door, COMPLETIONS, &body).await {
        let choice = &object["choices"][0];
        texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    for (choice, text) in choices.iter().zip(texts) {
        assert_eq!(choice["text"], text);
    }

    body["n"] = json!(3);
    let refused = read(door.post(COMPLETIONS, &body)).await;
    let says = "needs 9 places";
    assert_error(refused, 400, "queue_too_small", Some("n"), says);
}

#[tokio::test]
async fn the_same_chat_in_other_words_is_the_same_chat() {
    let door = Door::echoing().await;
    let tokens = async |messages: &Value| {
        door.ask("/tokenize", &json!({"messages": messages})).await["tokens"].clone()
    };
    let chat = |system: &str, hello: Value, empty: Value| {
        json!([
            {"role": system, "content": "Be kind."},
            {"role": "user", "content": hello, "name": "Ann"},
            {"role": "assistant", "content": empty, "reasoning_content": "hm", "tool_calls": [], "refusal": null},
            {"role": "user", "content": "Well?"},
        ])
    };
    let plain = chat("system", json!("Hello\nthere"), json!(""));
    let parts = json!([{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]);
    let other = chat("developer", parts, Value::Null);
    assert_eq!(tokens(&plain).await, tokens(&other).await);
}

#[tokio::test]
async fn a_prompt_that_cannot_be_continued_is_refused() {
    let door = Door::echoing().await;
    let ask = |body: Value| read(door.post(COMPLETIONS, &body));
    for body in [json!({}), json!({"prompt": null})] {
        let code = "missing_required_parameter";
        assert_error(ask(body).await, 400, code, Some("prompt"), "missing");
    }
    for (prompt, message) in [
        (json!([]), "empty"),
        (json!([[]]), "empty"),
        (json!({}), "neither a string nor an array"),
        (json!(["a", 5]), "5"),
        (json!([[20], [99999]]), "token id 99999"),
        (json!([[20], []]), "empty"),
        (json!([[[20]]]), "sequence"),
        (json!([20, "a"]), "\"a\""),
        (json!([99999]), "token id 99999"),
        (json!([-1]), "-1"),
    ] {
        let answer = ask(json!({"prompt": prompt})).await;
        assert_error(answer, 400, "invalid_value", Some("prompt"), message);
    }
    for (num_tokens, max_tokens, needs) in [(1, 256, "needs 257"), (256, 1, "needs 257")] {
        let body = json!({"prompt": vec![20; num_tokens], "max_tokens": max_tokens});
        assert_error(ask(body).await, 400, "context_length_exceeded", None, needs);
    }
    let answer = ask(json!({"prompt": [20], "model": "gpt-7"})).await;
    assert_error(answer, 404, "model_not_found", Some("model"), "`gpt-7`");
}

#[tokio::test]
async fn a_message_that_cannot_be_rendered_whole_is_refused_by_its_place() {
    let door = Door::echoing().await;
    let image = json!({"type": "image_url", "image_url": {"url": "x"}});
    let with_image = json!([{"type": "text", "text": "a"}, image]);
    let (missing, invalid) = ("missing_required_parameter", "invalid_value");
    for (message, code, place) in [
        (json!("Hello"), invalid, ""),
        (json!({"content": "a"}), missing, ".role"),
        (json!({"role": "tool", "content": "a"}), invalid, ".role"),
        (json!({"role": "user"}), missing, ".content"),
        (
            json!({"role": "user", "content": null}),
            missing,
            ".content",
        ),
        (json!({"role": "user", "content": 5}), invalid, ".content"),
        (
            json!({"role": "user", "content": ["a"]}),
            invalid,
            ".content[0]",
        ),
        (
            json!({"role": "user", "content": with_image}),
            invalid,
            ".content[1].type",
        ),
        (
            json!({"role": "user", "content": [{"type": "text"}]}),
            missing,
            ".content[0].text",
        ),
        (
            json!({"role": "assistant", "tool_calls": [1]}),
            "unsupported_parameter",
            ".tool_calls",
        ),
        (
            json!({"role": "user", "content": "a", "reasoning_content": "hm"}),
            "unsupported_parameter",
            ".reasoning_content",
        ),
        (
            json!({"role": "assistant", "content": "a", "reasoning_content": 5}),
            invalid,
            ".reasoning_content",
        ),
        (
            json!({"role": "assistant", "colour": "red"}),
            "unknown_parameter",
            ".colour",
        ),
    ] {
        let body = json!({"messages": [{"role": "user", "content": "Hi"}, message]});
        let param = format!("messages[1]{place}");
        assert_error(
            read(door.post(CHAT, &body)).await,
            400,
            code,
            Some(&param),
            &param,
        );
    }
    for (body, code) in [(json!({}), missing), (json!({"messages": []}), invalid)] {
        assert_error(
            read(door.post(CHAT, &body)).await,
            400,
            code,
            Some("messages"),
            "messages",
        );
    }
}

#[tokio::test]
async fn what_is_no_text_has_no_tokens_and_the_other_way_round() {
    let door = Door::echoing().await;
    let messages = json!([{"role": "user", "content": "Hi"}]);
    for (path, body, name) in [
        ("/detokenize", json!({"tokens": [99999]}), "tokens"),
        ("/detokenize", json!({}), "tokens"),
        ("/tokenize", json!({}), "prompt"),
        ("/tokenize", json!({"prompt": 5}), "prompt"),
        (
            "/tokenize",
            json!({"prompt": "a", "messages": messages}),
            "messages",
        ),
        (
            "/tokenize",
            json!({"messages": messages, "add_special_tokens": true}),
            "add_special_tokens",
        ),
        (
            "/tokenize",
            json!({"prompt": "a", "return_token_strs": true}),
            "return_token_strs",
        ),
    ] {
        let (status, answer) = read(door.post(path, &body)).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"]["param"], name, "{body}");
    }
}
