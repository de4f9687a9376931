//! Fields: what is taken, what is refused, and by which name.

use foretoken_model::SamplingParams;
use foretoken_server::request::{Speculation, Stopping};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{COMPLETIONS, Door, assert_error, next, read, support};

/// Asks for a completion with `fields`.
async fn complete(door: &Door, fields: &Value) -> (StatusCode, Value) {
    let mut body = json!({"prompt": [20], "max_tokens": 6});
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    read(door.post(COMPLETIONS, &body)).await
}

#[tokio::test]
async fn what_a_body_states_reaches_the_engine() {
    let (frontend, mut inbox) = support::frontend(8);
    let door = Door::open(&frontend, None).await;
    let body = json!({
        "prompt": [20, 21], "max_completion_tokens": 5,
        "temperature": 0.5, "top_k": 4, "top_p": 0.75, "min_p": 0.25,
        "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5,
        "logit_bias": {"30": -100, "31": 1}, "seed": 9,
        "stop": "x", "stop_token_ids": [40], "ignore_eos": true,
        "priority": -3, "cache_salt": "s",
        "speculative": {"n_max": 8, "n_min": 2},
        "speculative.max_depth": 3, "speculative.drafter": "lookup",
    });
    let engine = async {
        let request = next(&mut inbox).await;
        assert_eq!(request.priority, -3);
        assert_eq!(request.cache_salt.as_deref(), Some("s"));
        (request.sampling, request.stopping, request.speculation)
    };
    let (request, (status, _)) = tokio::join!(engine, read(door.post(COMPLETIONS, &body)));
    // This engine hangs up, which the client is told.
    assert_eq!(status, 500);
    let sampling = SamplingParams {
        temperature: 0.5,
        top_k: 4,
        top_p: 0.75,
        min_p: 0.25,
        presence_penalty: 1.0,
        frequency_penalty: -1.0,
        repetition_penalty: 1.5,
        logit_bias: vec![(30, -100.0), (31, 1.0)],
        seed: 9,
    };
    let stopping = Stopping {
        max_tokens: 5,
        stop_token_ids: vec![40],
        ignore_eos: true,
    };
    let speculation = Speculation {
        drafter: Some("lookup"),
        max_draft_tokens: 8,
        min_draft_tokens: 2,
        max_draft_depth: 3,
    };
    assert_eq!(request, (sampling, stopping, speculation));
}

#[tokio::test]
async fn fields_that_ask_for_nothing_are_taken() {
    let door = Door::echoing().await;
    for fields in [
        json!({"n": 1, "best_of": 1, "echo": false, "suffix": "", "logit_bias": {}}),
        json!({"logprobs": null, "presence_penalty": 0, "frequency_penalty": 0.0}),
        json!({"logprobs": false, "top_logprobs": 0, "modalities": ["text"]}),
        json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}),
        json!({"tool_choice": "none", "response_format": {"type": "text"}}),
        json!({"user": "ann", "metadata": {"a": "b"}, "store": true, "service_tier": "auto"}),
        json!({"safety_identifier": "x", "prompt_cache_key": "y", "guided_json": null}),
        json!({"stop": [], "stop_token_ids": [], "stream": false, "stream_options": null}),
    ] {
        let (status, answer) = complete(&door, &fields).await;
        assert_eq!(status, 200, "{fields}: {answer}");
    }
}

#[tokio::test]
async fn speculation_is_switched_off_in_either_form() {
    let door = Door::echoing().await;
    for (fields, drafted) in [
        (json!({}), 4),
        (json!({"speculative": {"n_max": 0}}), 0),
        (json!({"speculative.n_max": 0}), 0),
        (json!({"speculative": {"drafter": "none"}}), 0),
    ] {
        let (_, answer) = complete(&door, &fields).await;
        assert_eq!(answer["timings"]["draft_n"], drafted, "{fields}");
    }
}

#[tokio::test]
async fn a_field_that_no_one_knows_is_refused_by_name() {
    let door = Door::echoing().await;
    for (fields, name) in [
        (json!({"temprature": 1}), "temprature"),
        (json!({"temprature": null}), "temprature"),
        (json!({"speculative": {"nmax": 1}}), "speculative.nmax"),
        (json!({"speculative.nmax": 1}), "speculative.nmax"),
    ] {
        let answer = complete(&door, &fields).await;
        assert_error(answer, 400, "unknown_parameter", Some(name), "not a field");
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_obeyed_is_refused_by_name() {
    let door = Door::echoing().await;
    for (name, value) in [
        ("top_logprobs", json!(2)),
        ("prompt_logprobs", json!(0)),
        ("suffix", json!("end")),
        ("tools", json!([{}])),
        ("tool_choice", json!("required")),
        ("response_format", json!({"type": "json_object"})),
        ("response_format", json!("text")),
        ("modalities", json!(["text", "audio"])),
        ("min_tokens", json!(1)),
    ] {
        let answer = complete(&door, &json!({name: value})).await;
        assert_error(
            answer,
            400,
            "unsupported_parameter",
            Some(name),
            "not supported",
        );
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_is_refused_with_its_field() {
    let door = Door::echoing().await;
    for (name, value, message) in [
        ("temperature", json!(-1), "is -1"),
        ("temperature", json!("NaN"), "string \"NaN\""),
        ("temperature", json!(1e300), "is inf"),
        ("top_k", json!(-2), "is -2"),
        ("top_p", json!(0), "is 0"),
        ("min_p", json!(2), "is 2"),
        ("presence_penalty", json!(3), "is 3"),
        ("frequency_penalty", json!(-2.5), "is -2.5"),
        ("repetition_penalty", json!(0), "is 0"),
        ("seed", json!(1.5), "is 1.5"),
        ("seed", json!(1e30), "integer of 64 bits"),
        ("logit_bias", json!({"x": 1}), "number in quotes"),
        ("logit_bias", json!({"99999": 1}), "99999"),
        ("logit_bias", json!({"1": 101}), "is 101"),
        ("max_tokens", json!(0), "is 0"),
        ("max_tokens", json!(-1), "-1"),
        ("max_completion_tokens", json!(4), "is given twice"),
        ("stop", json!(""), "empty"),
        ("stop", json!(5), "5"),
        ("stop", json!(vec!["x"; 17]), "holds 17"),
        ("stop_token_ids", json!([99999]), "99999"),
        ("stream", json!("yes"), "yes"),
        ("stream_options", json!({"include_usage": true}), "stream"),
        ("speculative", json!(5), "object"),
        ("speculative.n_max", json!(1000), "expected 0 to 63"),
        ("speculative.n_max", json!(-1), "-1"),
        ("speculative.n_min", json!(17), "is 17, more than the 16"),
        ("speculative.max_depth", json!(0), "is 0"),
        ("speculative.drafter", json!("oracle"), "is `oracle`"),
    ] {
        let answer = complete(&door, &json!({name: value})).await;
        assert_error(answer, 400, "invalid_value", Some(name), message);
        if let Some(inner) = name.strip_prefix("speculative.") {
            let answer = complete(&door, &json!({"speculative": {inner: value}})).await;
            assert_error(answer, 400, "invalid_value", Some(name), message);
        }
    }
    let both = json!({"speculative": {"n_max": 1}, "speculative.n_max": 1});
    let answer = complete(&door, &both).await;
    assert_error(
        answer,
        400,
        "invalid_value",
        Some("speculative.n_max"),
        "given twice",
    );
}
