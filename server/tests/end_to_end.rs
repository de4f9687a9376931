//! The whole server on the carried model, through its real doors.

#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use foretoken_proto::v1::generate_request::Prompt;
use foretoken_proto::v1::inference_client::InferenceClient;
use foretoken_proto::v1::{GenerateRequest, SpeculationOptions, StoppingCriteria};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tonic::transport::Channel;

/// A server process that ends with the test.
struct Server {
    child: Child,
    /// Kept open, so that the server can go on logging.
    _log: BufReader<ChildStderr>,
    http: String,
    grpc: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_foretoken"))
            .args(["--port", "0", "--grpc-port", "0", "--threads", "2"])
            .args(args)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("gRPC on ") {
            line.clear();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "the server ended before it listened"
            );
        }
        let address = |name: &str| {
            let rest = &line[line.find(name).unwrap() + name.len()..];
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
                .unwrap_or(rest.len());
            format!("http://{}", &rest[..end])
        };
        let (http, grpc) = (address("HTTP on http://"), address("gRPC on "));
        Self {
            child,
            _log: log,
            http,
            grpc,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new()
            .post(format!("{}{path}", self.http))
            .json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn interrupt(&self) {
        let kill = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

async fn grpc_client(address: String) -> InferenceClient<Channel> {
    let endpoint = Channel::from_shared(address).unwrap();
    InferenceClient::new(endpoint.connect().await.unwrap())
}

fn completion(drafter: &str, temperature: f32) -> Value {
    json!({"prompt": "Once upon a time", "max_tokens": 48, "temperature": temperature, "seed": 5, "ignore_eos": true,
        "speculative": {"drafter": drafter, "n_max": 16}})
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
        for drafter in ["trigram", "lookup"] {
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
        assert_eq!(again["choices"], first["choices"], "after: {message}");
    }
    let health = reqwest::get(format!("{}/health", server.http))
        .await
        .unwrap();
    assert_eq!(health.status().as_u16(), 200);
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
    let readme = include_str!("../../README.md");
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
    let proto = include_str!("../../proto/proto/foretoken/v1/inference.proto");
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
