//! A server process, and clients of it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use foretoken_proto::v1::inference_client::InferenceClient;
use serde_json::Value;
use tonic::transport::Channel;

/// A server process that ends with the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Kept open, so that the server can go on logging.
    log: BufReader<ChildStderr>,
    pub(crate) http: String,
    pub(crate) grpc: String,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(args, &[])
    }

    /// A server with these variables in its environment, and no others.
    pub(crate) fn start_in(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_foretoken"))
            .args(["--port", "0", "--grpc-port", "0", "--threads", "2"])
            .args(args)
            .env_clear()
            .envs(environment.iter().copied())
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
            log,
            http,
            grpc,
        }
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new()
            .post(format!("{}{path}", self.http))
            .json(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// What it logs until it ends, after it has listened.
    pub(crate) fn log_lines(&mut self) -> Vec<String> {
        self.log.by_ref().lines().map(Result::unwrap).collect()
    }

    pub(crate) fn interrupt(&self) {
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

pub(crate) async fn grpc_client(address: String) -> InferenceClient<Channel> {
    let endpoint = Channel::from_shared(address).unwrap();
    InferenceClient::new(endpoint.connect().await.unwrap())
}
