//! Clients that leave.

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::{CHAT, Door, PATIENCE, next, one_token, support};

#[tokio::test]
async fn a_client_that_leaves_mid_stream_is_seen_by_the_engine() {
    let (frontend, mut inbox) = support::frontend(1);
    let door = Door::open(&frontend, None).await;
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let response = door.post(CHAT, &body).send().await.unwrap();
    let request = next(&mut inbox).await;
    request.events.try_send(one_token(None)).unwrap();
    let mut pieces = response.bytes_stream();
    let piece = pieces.next().await.unwrap().unwrap();
    assert!(piece.starts_with(b"data: {"), "{piece:?}");
    assert!(!request.events.is_closed());
    drop(pieces);
    timeout(PATIENCE, request.events.closed()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_seen_by_the_engine() {
    let (frontend, mut inbox) = support::frontend(1);
    let door = Door::open(&frontend, None).await;
    for stream in [false, true] {
        let body = json!({"prompt": [20], "stream": stream}).to_string();
        let headers = format!("content-length: {}", body.len());
        let connection = door.send(&headers, &body).await;
        let request = next(&mut inbox).await;
        assert!(!request.events.is_closed());
        drop(connection);
        timeout(PATIENCE, request.events.closed()).await.unwrap();
    }
}
