//! What operators look at: probes, models, request ids, keys, overload, shutdown.

use std::time::Duration;

use foretoken_server::request::Finish;
use reqwest::header::HeaderValue;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{CHAT, COMPLETIONS, Door, assert_error, next, one_token, read, support};

#[tokio::test]
async fn health_follows_the_engine() {
    let (frontend, inbox) = support::frontend(1);
    let door = Door::open(&frontend, None).await;
    let health = async || {
        let (status, body) = read(door.get("/health")).await;
        (status.as_u16(), body["error"]["code"].clone())
    };
    assert_eq!(health().await, (200, Value::Null));
    frontend.drain();
    assert_eq!(health().await, (503, json!("shutting_down")));
    drop(inbox);
    assert_eq!(health().await, (503, json!("engine_failed")));
}

#[tokio::test]
async fn models_are_listed() {
    let door = Door::echoing().await;
    let (_, list) = read(door.get("/v1/models")).await;
    assert_eq!(list["object"], "list");
    let model = &list["data"][0];
    assert_eq!(model["id"], "demo");
    assert_eq!(model["object"], "model");
    assert_eq!(model["max_model_len"], support::MAX_MODEL_LEN);
    let (_, same) = read(door.get("/v1/models/demo")).await;
    assert_eq!(same["id"], "demo");
    let (_, version) = read(door.get("/version")).await;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn every_response_has_a_request_id() {
    let door = Door::echoing().await;
    for path in ["/health", "/v1/models", "/nonsense", COMPLETIONS] {
        let id = async |request: reqwest::RequestBuilder| {
            let response = request.send().await.unwrap();
            response.headers()["x-request-id"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        let sent = door.get(path).header("x-request-id", "mine-1");
        assert_eq!(id(sent).await, "mine-1", "{path}");
        assert_ne!(id(door.get(path)).await, id(door.get(path)).await, "{path}");
    }
    let sent = door.get("/health").header("x-request-id", "a".repeat(257));
    let (code, param) = ("invalid_value", Some("x-request-id"));
    assert_error(read(sent).await, 400, code, param, "has 257 bytes");
}

#[tokio::test]
async fn a_running_request_outlives_the_order_to_stop() {
    let (frontend, mut inbox) = support::frontend(1);
    let Door {
        address,
        client,
        stop,
        mut serving,
    } = Door::open(&frontend, None).await;
    let body = json!({"prompt": [20]});
    let request = client
        .post(format!("http://{address}{COMPLETIONS}"))
        .json(&body);
    let engine = async {
        let request = next(&mut inbox).await;
        stop.send(()).unwrap();
        assert!(serving.try_join_next().is_none());
        request
            .events
            .try_send(one_token(Some(Finish::Length)))
            .unwrap();
    };
    let ((status, _), ()) = tokio::join!(read(request), engine);
    assert_eq!(status, 200);
    serving.join_next().await.unwrap().unwrap();
    let late = client.get(format!("http://{address}/health"));
    assert!(late.send().await.is_err());
}

#[tokio::test]
async fn what_leads_nowhere_is_told_so_in_json() {
    let door = Door::echoing().await;
    for (path, status, code, param, message) in [
        ("/v1/nonsense", 404, "not_found", None, "GET /v1/nonsense"),
        (
            COMPLETIONS,
            405,
            "method_not_allowed",
            None,
            "does not take GET",
        ),
        (
            "/v1/models/org/it",
            404,
            "model_not_found",
            Some("model"),
            "`org/it`",
        ),
    ] {
        assert_error(read(door.get(path)).await, status, code, param, message);
    }
}

#[tokio::test]
async fn a_full_queue_a_drain_and_a_dead_engine_are_told_apart() {
    let (frontend, inbox) = support::frontend(1);
    let door = Door::open(&frontend, None).await;
    let body = json!({"prompt": [20], "max_tokens": 1});
    let waiting = json!({"prompt": [20], "stream": true});
    let _waiting = door.post(COMPLETIONS, &waiting).send().await.unwrap();
    let response = door.post(COMPLETIONS, &body).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let answer = (response.status(), response.json().await.unwrap());
    assert_error(answer, 429, "queue_full", None, "0 of 1 places");
    frontend.drain();
    let answer = read(door.post(COMPLETIONS, &body)).await;
    assert_error(answer, 503, "shutting_down", None, "shutting down");
    drop(inbox);
    let answer = read(door.post(COMPLETIONS, &body)).await;
    assert_error(answer, 503, "engine_failed", None, "engine");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_cut_off_and_its_request_cancelled() {
    // The server's patience ends, or the server does.
    for (timeout, status, code) in [
        (Some(Duration::from_millis(50)), 504, "request_timeout"),
        (None, 503, "shutting_down"),
    ] {
        for stream in [false, true] {
            let (frontend, mut inbox) = support::impatient_frontend(1, timeout);
            let door = Door::open(&frontend, None).await;
            let body = json!({"prompt": [20], "stream": stream});
            let engine = async {
                let request = next(&mut inbox).await;
                request.events.try_send(one_token(None)).unwrap();
                if timeout.is_none() {
                    frontend.drain();
                    frontend.close();
                }
                request.events.closed().await;
            };
            let answer = async {
                let response = door.post(COMPLETIONS, &body).send().await.unwrap();
                (response.status(), response.text().await.unwrap())
            };
            let ((given, text), ()) = tokio::join!(answer, engine);
            assert_eq!(given, if stream { 200 } else { status });
            assert!(text.contains(code), "{text}");
            assert!(!text.contains("[DONE]"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_engine_that_dies_at_work_is_an_error_of_the_server() {
    let (frontend, mut inbox) = support::frontend(1);
    let door = Door::open(&frontend, None).await;
    let body = json!({"prompt": [20]});
    let engine = async { drop(next(&mut inbox).await) };
    let (answer, ()) = tokio::join!(read(door.post(COMPLETIONS, &body)), engine);
    assert_error(answer, 500, "engine_failed", None, "engine");
}

#[tokio::test]
async fn a_wrong_key_opens_nothing_but_the_probes() {
    let (frontend, inbox) = support::frontend(1);
    support::echo(inbox, Duration::ZERO);
    let door = Door::open(&frontend, Some("s3cret")).await;
    let body = json!({"prompt": [20], "max_tokens": 1});
    for (key, message) in [(None, "no API key"), (Some("s3cre"), "wrong API key")] {
        for request in [
            door.post(COMPLETIONS, &body),
            door.post(CHAT, &body),
            door.post("/tokenize", &body),
            door.post("/detokenize", &body),
            door.get("/v1/models"),
            door.get("/v1/models/demo"),
        ] {
            let request = match key {
                Some(key) => request.bearer_auth(key),
                None => request,
            };
            assert_error(read(request).await, 401, "invalid_api_key", None, message);
        }
    }
    let (status, _) = read(door.post(COMPLETIONS, &body).bearer_auth("s3cret")).await;
    assert_eq!(status, 200);
    for path in ["/health", "/version", "/metrics"] {
        let response = door.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn web_pages_of_allowed_origins_may_ask_with_the_key() {
    let page = "https://chat.example.com";
    for (allowed, told) in [
        (vec![], None),
        (vec!["https://other.example.com"], None),
        (vec!["https://other.example.com", page], Some(page)),
        (vec!["*"], Some("*")),
    ] {
        let (frontend, inbox) = support::frontend(1);
        support::echo(inbox, Duration::ZERO);
        let origins = allowed.into_iter().map(HeaderValue::from_static);
        let door = Door::open_to(&frontend, Some("s3cret"), origins.collect()).await;
        let url = format!("http://{}{COMPLETIONS}", door.address);
        // What a browser asks beforehand, without the key.
        let preflight = door.client.request(Method::OPTIONS, url);
        let preflight = preflight
            .header("origin", page)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        let preflight = preflight.send().await.unwrap();
        let allows = |response: &Response, what: &str| {
            let header = response.headers().get(format!("access-control-{what}"));
            header.map(|value| value.to_str().unwrap().to_owned())
        };
        let origin = allows(&preflight, "allow-origin");
        assert_eq!(origin.as_deref(), told);
        if told.is_some() {
            assert_eq!(preflight.status(), 200);
            let headers = allows(&preflight, "allow-headers").unwrap();
            assert_eq!(headers, "authorization,content-type");
        }
        let body = json!({"prompt": [20], "max_tokens": 1});
        let request = door.post(COMPLETIONS, &body).header("origin", page);
        let refused = request.try_clone().unwrap().send().await.unwrap();
        assert_eq!(refused.status(), 401);
        // The page may read why.
        assert_eq!(allows(&refused, "allow-origin").as_deref(), told);
        let answer = request.bearer_auth("s3cret").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(allows(&answer, "allow-origin").as_deref(), told);
    }
}
