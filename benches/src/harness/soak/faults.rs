//! Requests that make no sense, each in its own way. All must be refused, and none may harm.

use serde_json::{Value, json};

use crate::harness::request::Request;
use crate::harness::send::OpenAi;

/// A body that must be refused.
pub(super) type Fault = (&'static str, fn(&OpenAi, &Request) -> Vec<u8>);

/// All kinds, named for reports.
pub(super) const FAULTS: [Fault; 8] = [
    ("half a JSON object", |client, request| {
        let mut body = client.body(request).to_string().into_bytes();
        body.truncate(body.len() / 2);
        body
    }),
    ("an array", |_, _| b"[]".to_vec()),
    ("bytes that are no UTF-8", |client, request| {
        let mut body = client.body(request).to_string().into_bytes();
        if let Some(letter) = body.iter_mut().rfind(|byte| byte.is_ascii_lowercase()) {
            *letter = 0xff;
        }
        body
    }),
    ("a negative temperature", |client, request| {
        with(client, request, "temperature", json!(-1))
    }),
    ("no tokens", |client, request| {
        with(client, request, "max_tokens", json!(0))
    }),
    ("a string for a number", |client, request| {
        with(client, request, "seed", json!("seven"))
    }),
    ("a model that there is not", |client, request| {
        with(client, request, "model", json!("no such model"))
    }),
    ("a prompt beyond any context", |client, request| {
        let prompt = request
            .prompt
            .repeat(1 + (1 << 20) / request.prompt.len().max(1));
        let request = Request {
            prompt,
            ..request.clone()
        };
        client.body(&request).to_string().into_bytes()
    }),
];

fn with(client: &OpenAi, request: &Request, field: &str, value: Value) -> Vec<u8> {
    let mut body = client.body(request);
    body[field] = value;
    body.to_string().into_bytes()
}
