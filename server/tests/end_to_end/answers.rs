//! What the server says.

use std::process::Command;

use foretoken_proto::v1::generate_request::Prompt;
use foretoken_proto::v1::{GenerateRequest, SpeculationOptions, StoppingCriteria};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Server, grpc_client};

/// Drafts are forced, for whether they pay is this machine's business.
fn completion(drafter: &str, temperature: f32) -> Value {
    json!({"prompt": "Once upon a time", "max_tokens": 48, "temperature": temperature, "seed": 5, "ignore_eos": true,
        "speculative": {"drafter": drafter, "n_max": 16, "n_min": 1}})
}

#[tokio::test]
async fn both_doors_say_the_same_whatever_drafts() {
    let server = Server::start(&[]);
    for temperature in [0.0, 1.0] {
        let (status, plain) = server
            .post("/v1/completions", &completion("none", temperature))
            .await;
        assert_eq!(status, 200, "{plain}");
        let text = plain["choices"][0]["text"].as_str().unwrap();
        assert!(!text.is_empty());
        for drafter in ["auto", "trigram", "lookup"] {
            let (_, drafted) = server
                .post("/v1/completions", &completion(drafter, temperature))
                .await;
            assert_eq!(
                drafted["choices"][0]["text"], text,
                "{drafter} at {temperature}"
            );
            assert!(
                drafted["timings"]["draft_n"].as_u64() > Some(0),
                "{drafted}"
            );
        }
        let mut client = grpc_client(server.grpc.clone()).await;
        let request = GenerateRequest {
            prompt: Some(Prompt::Text("Once upon a time".to_owned())),
            temperature: Some(temperature),
            sampling: Some(foretoken_proto::v1::RandomSampling {
                seed: Some(5),
                ..Default::default()
            }),
            stopping: Some(StoppingCriteria {
                max_new_tokens: Some(48),
                ignore_eos: true,
                ..Default::default()
            }),
            speculation: Some(SpeculationOptions {
                max_draft_tokens: Some(4),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut stream = client.generate_stream(request).await.unwrap().into_inner();
        let mut streamed = String::new();
        while let Some(response) = stream.next().await {
            streamed.push_str(&response.unwrap().outputs.unwrap().text);
        }
        assert_eq!(streamed, text, "gRPC at {temperature}");
    }
}

#[tokio::test]
async fn requests_side_by_side_say_what_they_say_alone() {
    let server = Server::start(&["--max-num-seqs", "3"]);
    let body = |seed: usize| {
        json!({"messages": [{"role": "user", "content": "I need a hotel in Paris."}], "max_tokens": 40, "seed": seed,
            "temperature": 0.9, "speculative.n_max": seed % 3 * 8})
    };
    let mut alone = Vec::new();
    for seed in 0..8 {
        alone.push(
            server.post("/v1/chat/completions", &body(seed)).await.1["choices"][0]["message"]
                .clone(),
        );
    }
    let bodies: Vec<Value> = (0..8).map(body).collect();
    let together = bodies
        .iter()
        .map(|body| server.post("/v1/chat/completions", body));
    let together = futures_util::future::join_all(together).await;
    for (seed, ((status, answer), alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!(
            (*status, &answer["choices"][0]["message"]),
            (200, alone),
            "seed {seed}"
        );
    }
}

#[tokio::test]
async fn the_shortest_contexts_are_served() {
    for (max_model_len, max_tokens) in [("2", 1), ("3", 2), ("70", 69)] {
        let server = Server::start(&["--max-model-len", max_model_len]);
        let body = json!({"prompt": [300], "max_tokens": max_tokens, "ignore_eos": true,
            "speculative": {"drafter": "lookup", "n_max": 63, "n_min": 63}});
        let (status, answer) = server.post("/v1/completions", &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["usage"]["completion_tokens"], max_tokens);
    }
    let server = Server::start(&["--max-model-len", "1"]);
    let (status, _) = server
        .post("/v1/completions", &json!({"prompt": [300]}))
        .await;
    assert_eq!(status, 400, "no room for an answer");
}

#[test]
fn generate_shows_drafts_and_says_what_plain_decoding_says() {
    for args in [
        &["--raw", "--temperature", "0"][..],
        &["--seed", "3"],
        &["--drafter", "lookup", "--seed", "4"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_foretoken"))
            .args([
                "generate",
                "--show-drafts",
                "--max-tokens",
                "40",
                "-p",
                "I need a hotel in Paris.",
            ])
            .args(args)
            .env_clear()
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {text}");
        assert!(
            text.contains("plain decoding says the same text"),
            "{args:?}: {text}"
        );
        assert!(text.contains(" guesses were right"), "{args:?}: {text}");
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_foretoken"))
        .args(["generate", "-p", "Hi", "--temperature", "-1"])
        .env_clear()
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(
        String::from_utf8_lossy(&refused.stderr)
            .contains("`temperature`: is -1, expected 0 or more")
    );
}

#[tokio::test]
async fn what_the_readme_says_to_paste_is_answered() {
    let readme = include_str!("../../../README.md");
    let server = Server::start(&[]);
    let bodies: Vec<&str> = readme
        .split("-d '")
        .skip(1)
        .map(|rest| &rest[..rest.find('\'').unwrap()])
        .collect();
    let [http, grpc] = bodies[..] else {
        panic!("{bodies:?}")
    };
    let (status, answer) = server
        .post("/v1/chat/completions", &serde_json::from_str(http).unwrap())
        .await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["timings"]["draft_n"].as_u64() > Some(0));
    assert!(answer["usage"]["completion_tokens_details"]["accepted_prediction_tokens"].is_u64());
    // No JSON reader for protobuf here: the names are looked for in the file that describes them.
    let proto = include_str!("../../../proto/proto/foretoken/v1/inference.proto");
    let fields: Value = serde_json::from_str(grpc).unwrap();
    let inner = fields
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_object)
        .flatten();
    for (name, _) in fields.as_object().unwrap().iter().chain(inner) {
        assert!(proto.contains(&format!(" {name} = ")), "{name}");
    }
}

/// Choices are requests of their own: each says what a request with its seed says, drafted or not, told as likely.
#[tokio::test]
async fn choices_say_what_single_requests_with_their_seeds_say() {
    let server = Server::start(&[]);
    let mut body = completion("trigram", 1.0);
    body["logprobs"] = json!(3);
    body["n"] = json!(4);
    let (status, several) = server.post("/v1/completions", &body).await;
    assert_eq!(status, 200, "{several}");
    let choices = several["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    body["n"] = json!(1);
    for drafter in ["none", "lookup"] {
        body["speculative"]["drafter"] = json!(drafter);
        for choice in choices {
            body["seed"] = choice["seed"].clone();
            let (_, single) = server.post("/v1/completions", &body).await;
            let single = &single["choices"][0];
            assert_eq!(single["text"], choice["text"]);
            assert_eq!(single["logprobs"], choice["logprobs"], "to the last bit");
        }
    }
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    let num_told = |choice: &Value| choice["logprobs"]["tokens"].as_array().unwrap().len();
    assert!(choices.iter().all(|choice| num_told(choice) == 48));
}
