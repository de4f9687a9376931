//! Bodies that are not read: no JSON, or too much of it.

use std::io;

use futures_util::{StreamExt, stream};
use reqwest::{Body, StatusCode};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::{COMPLETIONS, Door, PATIENCE, assert_error, read};

/// Sends bytes that say they are JSON.
async fn post(door: &Door, body: impl Into<Body>) -> (StatusCode, Value) {
    let url = format!("http://{}{COMPLETIONS}", door.address);
    let request = door.client.post(url);
    read(
        request
            .header("content-type", "application/json; charset=utf-8")
            .body(body),
    )
    .await
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let door = Door::echoing().await;
    for (body, message) in [
        (
            r#"{"prompt": "a""#,
            "EOF while parsing an object at line 1 column 14",
        ),
        (r#"{"temperature": NaN}"#, "line 1 column 17"),
        (r#"{"prompt": "\ud800"}"#, "line 1"),
        ("", "EOF"),
        ("[]", "expected a map"),
        (&"[".repeat(100_000), "not a JSON object"),
    ] {
        let answer = post(&door, body.to_owned()).await;
        assert_error(answer, 400, "invalid_json", None, message);
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_it_is_json_is_refused() {
    let door = Door::echoing().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let url = format!("http://{}{COMPLETIONS}", door.address);
        let request = door.client.post(url).header("content-type", content_type);
        let answer = read(request.body(r#"{"prompt": [20]}"#)).await;
        let message = format!("it is `{content_type}`");
        assert_error(answer, 415, "unsupported_media_type", None, &message);
    }
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_unread() {
    let door = Door::echoing().await;
    // Nothing of the body is sent, so nothing of it is waited for.
    let mut connection = door.send("content-length: 100000000", "").await;
    let mut answer = String::new();
    let read = connection.read_to_string(&mut answer);
    timeout(PATIENCE, read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"code\":\"body_too_large\""), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_100_mb_all_the_same_reads_the_refusal() {
    let door = Door::echoing().await;
    let answer = post(&door, vec![b' '; 100_000_000]).await;
    assert_error(
        answer,
        413,
        "body_too_large",
        None,
        "larger than 16777216 bytes",
    );
}

#[tokio::test]
async fn a_body_that_hides_its_size_is_refused_at_the_limit() {
    let door = Door::echoing().await;
    let chunk = |_| Ok::<_, io::Error>(vec![b' '; 1 << 20]);
    let body = Body::wrap_stream(stream::iter(0..20).map(chunk));
    let answer = post(&door, body).await;
    assert_error(
        answer,
        413,
        "body_too_large",
        None,
        "larger than 16777216 bytes",
    );
}

#[tokio::test]
async fn bodies_that_never_end_take_no_more_than_their_share() {
    let door = Door::echoing().await;
    // All of the memory that there is for unread bodies but a few bytes, once it has arrived.
    let most = "x".repeat((16 << 20) - 1);
    let mut slow = Vec::new();
    for _ in 0..4 {
        slow.push(door.send("content-length: 16777216", &most).await);
    }
    let until = async |status: u16| {
        while post(&door, r#"{"prompt": [20], "max_tokens": 1}"#).await.0 != status {}
    };
    timeout(PATIENCE, until(429)).await.unwrap();
    // They leave, and others get in.
    drop(slow);
    timeout(PATIENCE, until(200)).await.unwrap();
}
