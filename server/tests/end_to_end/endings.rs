//! What the server survives, and how it ends.

use std::time::Duration;

use foretoken_proto::v1::GenerateRequest;
use foretoken_proto::v1::generate_request::Prompt;
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Server, grpc_client};

#[tokio::test]
async fn asked_to_stop_it_finishes_what_runs_and_refuses_what_comes() {
    let mut server = Server::start(&[]);
    let body = json!({"prompt": "Once", "max_tokens": 1500, "ignore_eos": true, "stream": true,
        "speculative.n_max": 0});
    let request = reqwest::Client::new()
        .post(format!("{}/v1/completions", server.http))
        .json(&body);
    let mut stream = request.send().await.unwrap().bytes_stream();
    let mut text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();

    server.interrupt();
    let mut refused = server
        .post(
            "/v1/completions",
            &json!({"prompt": "Twice", "max_tokens": 1}),
        )
        .await;
    while refused.0 == 200 {
        // The signal is on its way.
        tokio::time::sleep(Duration::from_millis(5)).await;
        refused = server
            .post(
                "/v1/completions",
                &json!({"prompt": "Twice", "max_tokens": 1}),
            )
            .await;
    }
    assert_eq!(refused.0, 503, "{}", refused.1);
    let mut client = grpc_client(server.grpc.clone()).await;
    let prompt = Some(Prompt::Text("Twice".to_owned()));
    let status = client
        .generate(GenerateRequest {
            prompt,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);

    while let Some(bytes) = stream.next().await {
        text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
    }
    assert!(text.contains("\"finish_reason\":\"length\""), "{text}");
    assert!(text.trim_end().ends_with("data: [DONE]"));
    assert!(server.child.wait().unwrap().success());
}

#[tokio::test]
async fn asked_twice_it_ends_at_once() {
    let mut server = Server::start(&[]);
    let body = json!({"prompt": "Once", "max_tokens": 2000, "ignore_eos": true, "stream": true});
    let request = reqwest::Client::new()
        .post(format!("{}/v1/completions", server.http))
        .json(&body);
    let mut stream = request.send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();
    let ended = loop {
        server.interrupt();
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(ended) = server.child.try_wait().unwrap() {
            break ended;
        }
    };
    assert!(!ended.success());
}

#[tokio::test]
async fn bad_input_is_told_what_is_wrong_and_harms_nobody() {
    let server = Server::start(&["--api-key", "s3cret", "--max-model-len", "64"]);
    let client = reqwest::Client::new();
    let post = async |key: &str, body: String| {
        let request = client
            .post(format!("{}/v1/completions", server.http))
            .bearer_auth(key);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let good = json!({"prompt": "Once upon", "max_tokens": 4, "temperature": 0}).to_string();
    let (status, first) = post("s3cret", good.clone()).await;
    assert_eq!(status, 200, "{first}");
    let cases = [
        ("wrong", good.clone(), 401, "API key"),
        ("s3cret", "{\"prompt\": ".to_owned(), 400, "JSON"),
        (
            "s3cret",
            json!({"prompt": "word ".repeat(100)}).to_string(),
            400,
            "maximum context length is 64",
        ),
        (
            "s3cret",
            json!({"prompt": "word ".repeat(1 << 21)}).to_string(),
            400,
            "maximum context length is 64",
        ),
        ("s3cret", json!({"prompt": ""}).to_string(), 400, "empty"),
        (
            "s3cret",
            json!({"prompt": [1, 9999]}).to_string(),
            400,
            "9999",
        ),
        (
            "s3cret",
            json!({"prompt": "a", "model": "gpt-9"}).to_string(),
            404,
            "gpt-9",
        ),
        (
            "s3cret",
            json!({"prompt": "a", "temperature": -1}).to_string(),
            400,
            "temperature",
        ),
        (
            "s3cret",
            json!({"prompt": "a", "temperature": "NaN"}).to_string(),
            400,
            "temperature",
        ),
        (
            "s3cret",
            json!({"prompt": "a", "speculative": {"n_max": 1000}}).to_string(),
            400,
            "speculative.n_max",
        ),
        (
            "s3cret",
            json!({"prompt": "a", "nonsense": null}).to_string(),
            400,
            "nonsense",
        ),
        (
            "s3cret",
            json!({"prompt": "a", "stop": ["x".repeat(5000)]}).to_string(),
            400,
            "stop",
        ),
    ];
    for (key, body, code, problem) in cases {
        let (status, answer) = post(key, body).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            status == code && message.contains(problem),
            "{status}: {message}"
        );
        let (_, again) = post("s3cret", good.clone()).await;
        let text = |answer: &Value| answer["choices"][0]["text"].clone();
        assert_eq!(text(&again), text(&first), "after: {message}");
    }
    let health = reqwest::get(format!("{}/health", server.http))
        .await
        .unwrap();
    assert_eq!(health.status().as_u16(), 200);
}

#[tokio::test]
async fn what_a_server_has_learnt_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("overlay");
    let args = ["--shared-overlay", path.to_str().unwrap()];
    // By the number of steps: the same answer takes fewer once it is known, and no fewer under a salt.
    let answer = async |server: &Server, salt: Option<&str>| {
        let body = json!({"prompt": "Once", "max_tokens": 64, "temperature": 1, "seed": 5, "cache_salt": salt,
            "speculative.n_min": 12, "speculative.n_max": 12});
        let (status, answer) = server.post("/v1/completions", &body).await;
        assert_eq!(status, 200, "{answer}");
        let num_accepted = answer["timings"]["draft_n_accepted"].as_u64().unwrap();
        let text = answer["choices"][0]["text"].as_str().unwrap().to_owned();
        (num_accepted, text)
    };
    let stop = |mut server: Server| {
        server.interrupt();
        assert!(server.child.wait().unwrap().success());
    };
    let server = Server::start(&args);
    let (cold, text) = answer(&server, None).await;
    stop(server);
    let server = Server::start(&args);
    let (salted, same) = answer(&server, Some("a")).await;
    assert_eq!(
        (salted, &same),
        (cold, &text),
        "salted requests do not read"
    );
    let (warm, same) = answer(&server, None).await;
    assert!(warm > cold, "{warm} draft tokens kept, {cold} before");
    assert_eq!(same, text);
    stop(server);

    std::fs::write(&path, "my notes, not an overlay: keep them").unwrap();
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_foretoken"))
        .args(["generate", "-p", "x"])
        .args(args)
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(started.stderr).unwrap();
    assert!(said.contains("it starts with [6d, 79"), "{said}");
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("my notes")
    );
}
