//! Which server is measured: one that runs somewhere, or one that starts in this process.

use std::future::pending;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use foretoken_server::config::EngineOptions;
use foretoken_server::launch::{Grants, Launched, Pricing, launch};
use foretoken_server::serve::{Doors, serve};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::send::{Client, Endpoint, Grpc, OpenAi};

/// Which server.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerOptions {
    /// http://HOST:PORT of any server with OpenAI's API, or grpc://HOST:PORT of foretoken's gRPC
    #[arg(
        long,
        visible_alias = "base-url",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub url: String,

    /// How an OpenAI server is asked; gRPC always takes plain text
    #[arg(long, value_enum, default_value = "chat")]
    pub endpoint: Endpoint,

    /// The model's name in requests [default: the first that the server names]
    #[arg(long, value_name = "NAME")]
    pub served_model_name: Option<String>,

    /// Key that the server asks for
    #[arg(
        long,
        value_name = "KEY",
        env = "OPENAI_API_KEY",
        hide_env_values = true
    )]
    pub api_key: Option<String>,

    /// Does not ask an OpenAI server for token counts in every chunk, for servers that refuse to be asked; what a chunk
    /// brings is then not known, and all count as equal
    #[arg(long)]
    pub no_continuous_usage: bool,

    /// Requests that are not answered so many seconds after they arrived have failed
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,

    /// Starts a foretoken server in this process instead, with the options below
    #[arg(long, conflicts_with = "url")]
    pub in_process: bool,

    /// The server in this process.
    #[command(flatten)]
    pub engine: EngineOptions,
}

/// Requests that may wait in a server of this process, as by `foretoken serve`.
const MAX_NUM_QUEUED: usize = 256;

impl ServerOptions {
    /// A client of the server. One in this process is asked at its door, without a wire.
    pub async fn connect(&self) -> Result<Client> {
        if self.in_process {
            return Ok(Client::Engine(
                start(&self.engine, MAX_NUM_QUEUED)?.frontend,
            ));
        }
        self.connect_to(&self.url).await
    }

    /// A client of the server at `url`.
    pub async fn connect_to(&self, url: &str) -> Result<Client> {
        if let Some(address) = url.strip_prefix("grpc://") {
            let address = format!("http://{address}");
            return Ok(Client::Grpc(
                Grpc::connect(&address, self.api_key.as_deref()).await?,
            ));
        }
        ensure!(
            url.starts_with("http://"),
            "`{url}` is neither http:// nor grpc://"
        );
        let (model, key) = (self.served_model_name.clone(), self.api_key.clone());
        Ok(Client::OpenAi(
            OpenAi::connect(url, self.endpoint, model, key, !self.no_continuous_usage).await?,
        ))
    }

    /// The server in words, for reports.
    pub fn name(&self) -> String {
        match &self.engine.model {
            _ if !self.in_process => self.url.clone(),
            Some(model) => format!("in process, {}", model.display()),
            None => "in process, the carried model".to_owned(),
        }
    }

    /// See [`ServerOptions::timeout`].
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Starts a server without doors.
pub(super) fn start(engine: &EngineOptions, max_num_queued: usize) -> Result<Launched> {
    let grants = Grants {
        served_names: Vec::new(),
        max_num_queued,
        request_timeout: None,
    };
    launch(engine, grants, Pricing::Measured).context("the server in this process")
}

/// A server in this process with its doors open on loopback. It ends when dropped.
#[derive(Debug)]
pub struct LocalServer {
    /// `http://HOST:PORT` of OpenAI's API.
    pub http: String,
    /// `grpc://HOST:PORT` of foretoken's gRPC.
    pub grpc: String,
    _serving: JoinSet<Result<()>>,
}

impl LocalServer {
    /// Starts it on free ports.
    pub async fn start(engine: &EngineOptions, max_num_queued: usize) -> Result<Self> {
        let listen = || TcpListener::bind(("127.0.0.1", 0));
        let doors = Doors {
            http: listen().await?,
            grpc: listen().await?,
            api_key: None,
            allowed_origins: Vec::new(),
            shutdown_timeout: Duration::ZERO,
        };
        let (http, grpc) = (doors.http.local_addr()?, doors.grpc.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(serve(doors, start(engine, max_num_queued)?, pending()));
        Ok(Self {
            http: format!("http://{http}"),
            grpc: format!("grpc://{grpc}"),
            _serving: serving,
        })
    }
}
