//! What the server shows of itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use foretoken_proto::v1::GenerateRequest;
use foretoken_proto::v1::generate_request::Prompt;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use tonic::Request;

use crate::collector::Collector;
use crate::support::{Server, grpc_client};

/// Longer than anything here takes: ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// All samples by name and labels, as they stand.
type Samples = BTreeMap<String, f64>;

async fn metrics(server: &Server) -> Samples {
    let response = reqwest::get(format!("{}/metrics", server.http))
        .await
        .unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    let samples = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let samples: Samples = samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect();
    for name in samples.keys() {
        assert!(name.starts_with("foretoken_"), "{name}");
        let bare = name.split('{').next().unwrap();
        let bare = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| {
                bare.strip_suffix(end)
                    .filter(|bare| is_histogram(&text, bare))
            })
            .unwrap_or(bare);
        assert!(text.contains(&format!("# HELP {bare} ")), "{name}");
    }
    samples
}

fn is_histogram(text: &str, name: &str) -> bool {
    text.contains(&format!("# TYPE {name} histogram"))
}

/// The metrics as soon as nothing runs: the engine says so after the last answer is out.
async fn settled_metrics(server: &Server) -> Samples {
    let start = Instant::now();
    loop {
        let samples = metrics(server).await;
        if samples["foretoken_num_requests_running"] == 0.0 {
            return samples;
        }
        assert!(start.elapsed() < PATIENCE, "{samples:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The sum of all samples of a name, whatever their labels.
fn sum(samples: &Samples, name: &str) -> f64 {
    let labelled = format!("foretoken_{name}{{");
    let plain = format!("foretoken_{name}");
    samples
        .iter()
        .filter(|(name, _)| **name == plain || name.starts_with(&labelled))
        .map(|(_, value)| value)
        .sum()
}

#[tokio::test]
async fn metrics_add_up() {
    let server = Server::start(&["--api-key", "s3cret"]);
    let post = async |body: Value| {
        let request = reqwest::Client::new()
            .post(format!("{}/v1/completions", server.http))
            .bearer_auth("s3cret")
            .json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let mut expected = BTreeMap::from([("prompt", 0), ("output", 0), ("draft", 0), ("kept", 0)]);
    for drafter in ["auto", "lookup", "none"] {
        let answer = post(
            json!({"prompt": "Once upon a time", "max_tokens": 40, "temperature": 0,
            "ignore_eos": true, "speculative": {"drafter": drafter, "n_max": 8, "n_min": 8}}),
        )
        .await;
        for (name, number) in [
            ("prompt", &answer["usage"]["prompt_tokens"]),
            ("output", &answer["usage"]["completion_tokens"]),
            ("draft", &answer["timings"]["draft_n"]),
            ("kept", &answer["timings"]["draft_n_accepted"]),
        ] {
            *expected.get_mut(name).unwrap() += number.as_u64().unwrap();
        }
    }
    post(json!({"prompt": "", "max_tokens": 1})).await;

    let samples = settled_metrics(&server).await;
    let expected = |name: &str| expected[name] as f64;
    assert!(expected("kept") > 0.0);
    for (name, value) in [
        ("prompt_tokens_total", expected("prompt")),
        ("prefix_cache_queries_total", expected("prompt")),
        ("generation_tokens_total", expected("output")),
        ("spec_decode_num_draft_tokens_total", expected("draft")),
        ("spec_decode_num_accepted_tokens_total", expected("kept")),
        (
            "spec_decode_num_accepted_tokens_per_pos_total",
            expected("kept"),
        ),
        ("request_success_total{finished_reason=\"length\"}", 3.0),
        ("request_success_total", 3.0),
        ("requests_refused_total{reason=\"empty_prompt\"}", 1.0),
        ("requests_refused_total", 1.0),
        ("num_preemptions_total", 0.0),
        ("time_to_first_token_seconds_count", 3.0),
        ("e2e_request_latency_seconds_count", 3.0),
        ("request_queue_time_seconds_count", 3.0),
        ("request_prefill_time_seconds_count", 3.0),
        ("request_decode_time_seconds_count", 3.0),
        ("num_requests_waiting", 0.0),
        ("kv_cache_usage_perc", 0.0),
        ("cache_config_info", 1.0),
    ] {
        let exact = samples.get(&format!("foretoken_{name}"));
        let given = exact.copied().unwrap_or_else(|| sum(&samples, name));
        assert_eq!(given, value, "{name}: {samples:#?}");
    }
    for drafter in ["auto", "lookup"] {
        let of = |name: &str| {
            samples[&format!("foretoken_spec_decode_{name}_total{{drafter=\"{drafter}\"}}")]
        };
        let (drafts, tokens, kept) = (
            of("num_drafts"),
            of("num_draft_tokens"),
            of("num_accepted_tokens"),
        );
        assert!(
            drafts <= tokens && kept <= tokens,
            "{drafter}: {samples:#?}"
        );
    }
    let num_steps = samples["foretoken_iteration_tokens_total_count"];
    for stage in ["plan", "draft", "budget", "forward", "sample", "commit"] {
        let count = format!("foretoken_step_time_seconds_count{{stage=\"{stage}\"}}");
        assert_eq!(samples[&count], num_steps, "{stage}");
        let all = format!("foretoken_step_time_seconds_bucket{{stage=\"{stage}\",le=\"+Inf\"}}");
        assert_eq!(samples[&all], num_steps, "{stage}");
    }
    let num_gaps = samples["foretoken_inter_token_latency_seconds_count"];
    assert!(num_gaps > 0.0 && num_gaps <= num_steps, "{samples:#?}");
}

#[tokio::test]
async fn who_leaves_early_is_counted() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "Once", "max_tokens": 2000, "ignore_eos": true, "stream": true});
    let request = reqwest::Client::new()
        .post(format!("{}/v1/completions", server.http))
        .json(&body);
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    let aborted = "foretoken_request_success_total{finished_reason=\"abort\"}";
    let start = Instant::now();
    loop {
        let samples = settled_metrics(&server).await;
        if samples[aborted] == 1.0 {
            assert_eq!(samples["foretoken_e2e_request_latency_seconds_count"], 0.0);
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{samples:#?}");
    }
}

#[tokio::test]
async fn log_lines_of_a_request_hold_its_id() {
    let mut server = Server::start(&["--log", "foretoken_server=trace", "--log-format", "json"]);
    let request = reqwest::Client::new()
        .post(format!("{}/v1/completions", server.http))
        .header("x-request-id", "mine-1")
        .json(&json!({"prompt": "Once upon", "max_tokens": 5, "ignore_eos": true}));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let mut call = Request::new(GenerateRequest {
        prompt: Some(Prompt::Text("Once".to_owned())),
        temperature: Some(-1.0),
        ..Default::default()
    });
    call.metadata_mut()
        .insert("x-request-id", "mine-2".parse().unwrap());
    let mut client = grpc_client(server.grpc.clone()).await;
    client.generate(call).await.unwrap_err();
    drop(client);

    server.interrupt();
    let lines: Vec<Value> = (server.log_lines().iter())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let line = |message: &str| {
        let mut lines = lines.iter();
        lines
            .find(|line| line["fields"]["message"] == message)
            .unwrap_or_else(|| panic!("no `{message}` in {lines:#?}"))
    };
    let ended = &line("the request has ended")["span"];
    for (field, value) in [
        ("name", json!("request")),
        ("id", json!("mine-1")),
        ("drafter", json!("auto")),
        ("finish_reason", json!("length")),
        ("output_tokens", json!(5)),
    ] {
        assert_eq!(ended[field], value, "{ended}");
    }
    assert!(ended["prompt_tokens"].as_u64() > Some(0), "{ended}");
    assert!(ended["accepted_tokens"].is_u64(), "{ended}");
    let refused = line("a request is not admitted");
    assert_eq!(refused["span"]["id"], "mine-2", "{refused}");
    let step = &line("verified")["span"];
    assert_eq!(step["name"], "step");
    assert!(step["rows"].as_u64() > Some(0), "{step}");
}

/// What is logged makes no difference to what is exported.
#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector_below_their_parents() {
    let collector = Collector::start().await;
    let logs_little = ["--log", "foretoken_server::serve=info"];
    let mut server = Server::start(
        &[
            &logs_little[..],
            &["--otlp-traces-endpoint", &collector.url],
        ]
        .concat(),
    );
    let parent =
        |last: char| format!("00-0af7651916cd43dd8448eb211c80319{last}-b7ad6b7169203331-01");
    let request = reqwest::Client::new()
        .post(format!("{}/v1/completions", server.http))
        .header("traceparent", parent('1'))
        .json(&json!({"prompt": "Once upon", "max_tokens": 5, "ignore_eos": true, "n": 2}));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let mut call = Request::new(GenerateRequest {
        prompt: Some(Prompt::Text("Once".to_owned())),
        request_id: "mine-2".to_owned(),
        ..Default::default()
    });
    call.metadata_mut()
        .insert("traceparent", parent('2').parse().unwrap());
    let mut client = grpc_client(server.grpc.clone()).await;
    client.generate(call).await.unwrap();
    drop(client);

    server.interrupt();
    assert!(server.child.wait().unwrap().success());
    let (services, spans) = collector.received();
    assert!(services.iter().all(|name| name == "foretoken") && !services.is_empty());
    let [http, grpc] = ["1", "2"].map(|last| {
        let in_trace =
            |span: &&Span| span.trace_id.last() == Some(&(0x90 + last.parse::<u8>().unwrap()));
        let mut spans = spans.iter();
        spans.find(in_trace).unwrap_or_else(|| panic!("{spans:#?}"))
    });
    for span in [http, grpc] {
        assert_eq!(span.name, "request");
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    }
    let text = |span: &Span| format!("{:?}", span.attributes);
    assert!(text(grpc).contains("mine-2"), "{grpc:#?}");
    assert!(text(http).contains("IntValue(10)"), "{http:#?}");
    assert_eq!(spans.len(), 2, "no steps, nothing of libraries");
}
