//! The HTTP door over a real socket, with a scripted engine behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bodies;
mod choices;
mod clients;
mod fields;
mod logprobs;
mod operations;
mod predictions;
mod prompts;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use foretoken_server::admission::Frontend;
use foretoken_server::api_key::ApiKey;
use foretoken_server::openai;
use foretoken_server::request::{Emitted, Event, Finish, Request, Stats};
use reqwest::header::HeaderValue;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

/// An open door. It shuts when dropped.
struct Door {
    address: String,
    client: Client,
    /// Asks the door to finish what runs.
    stop: oneshot::Sender<()>,
    serving: JoinSet<()>,
}

impl Door {
    async fn open(frontend: &Arc<Frontend>, key: Option<&str>) -> Self {
        Self::open_to(frontend, key, vec![]).await
    }

    /// A door that web pages of these origins may use.
    async fn open_to(
        frontend: &Arc<Frontend>,
        key: Option<&str>,
        origins: Vec<HeaderValue>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let key = key.map(|key| ApiKey::new(key.to_owned()));
        let mut serving = JoinSet::new();
        let frontend = Arc::clone(frontend);
        serving.spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            openai::serve(frontend, key, &origins, listener, stopped).await;
        });
        Self {
            address,
            client: Client::new(),
            stop,
            serving,
        }
    }

    /// A door to an engine that says the prompt over again.
    async fn echoing() -> Self {
        let (frontend, inbox) = support::frontend(8);
        support::echo(inbox, Duration::ZERO);
        Self::open(&frontend, None).await
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.address))
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("http://{}{path}", self.address));
        request.json(body)
    }

    /// Sends a completion over a connection of its own.
    async fn send(&self, headers: &str, body: &str) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).await.unwrap();
        let head = format!(
            "POST {COMPLETIONS} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body.as_bytes()).await.unwrap();
        connection
    }

    /// Posts, and reads the answer that must be a good one.
    async fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = read(self.post(path, body)).await;
        assert_eq!(status, StatusCode::OK, "{body}: {answer}");
        answer
    }
}

/// Longer than anything here takes: ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next request that reaches the engine.
async fn next(inbox: &mut UnboundedReceiver<Request>) -> Request {
    timeout(PATIENCE, inbox.recv()).await.unwrap().unwrap()
}

/// One token, the last one if there is a reason.
fn one_token(finish: Option<Finish>) -> Event {
    let token = Emitted {
        token: 20,
        source: None,
        logprobs: None,
    };
    Event {
        tokens: vec![token],
        stats: Stats::default(),
        finish,
    }
}

/// The status, and the body that must be JSON.
async fn read(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// The data of all events of a stream.
async fn events(response: Response) -> Vec<String> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let events = text.split_terminator("\n\n");
    events
        .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
        .collect()
}

/// Every field of an error, with a part of its message.
fn assert_error(
    (given, body): (StatusCode, Value),
    status: u16,
    code: &str,
    param: Option<&str>,
    message: &str,
) {
    let error = &body["error"];
    assert_eq!(given, status, "{body}");
    assert_eq!(error["code"], code, "{body}");
    assert_eq!(error["param"].as_str(), param, "{body}");
    assert!(
        error["message"].as_str().unwrap().contains(message),
        "{body}, expected: {message}"
    );
    let kind = match status {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    assert_eq!(error["type"], kind, "{body}");
}
