//! Options of `foretoken serve`.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use hyper::Uri;
use hyper::header::HeaderValue;
use tracing_subscriber::filter::Targets;

use crate::api_key::ApiKey;

use super::EngineOptions;
use super::engine::count;

/// A server: where it listens, whom it lets in, and its engine.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Server", mut_args(|arg| arg.hide_env(true)))]
pub struct ServeConfig {
    /// Address to listen on; 0.0.0.0 is reached from other machines
    #[arg(
        long, env = "FORETOKEN_HOST", value_name = "ADDRESS", default_value = "127.0.0.1",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub host: String,

    /// Port of the OpenAI-compatible HTTP API; 0 takes a free one
    #[arg(
        long, env = "FORETOKEN_PORT", value_name = "PORT", default_value = "8080",
        value_parser = port
    )]
    pub port: u16,

    /// Port of the gRPC API; 0 takes a free one
    #[arg(
        long, env = "FORETOKEN_GRPC_PORT", value_name = "PORT", default_value = "50051",
        value_parser = port
    )]
    pub grpc_port: u16,

    /// Names under which clients may ask for the model, the first one shown [default: the model folder's name]
    #[arg(
        long, env = "FORETOKEN_SERVED_MODEL_NAME", value_name = "NAME", num_args = 1..,
        value_delimiter = ',', value_parser = NonEmptyStringValueParser::new(),
        hide_short_help = true
    )]
    pub served_model_name: Vec<String>,

    /// Key that clients must send [default: anyone may ask]; better set by FORETOKEN_API_KEY, as others see command lines
    #[arg(
        long, env = "FORETOKEN_API_KEY", value_name = "KEY", hide_env_values = true,
        value_parser = NonEmptyStringValueParser::new().map(ApiKey::new)
    )]
    pub api_key: Option<ApiKey>,

    /// Web pages that may ask from a browser, as https://chat.example.com, or * for all [default: none but the server's own]
    #[arg(
        long, env = "FORETOKEN_ALLOWED_ORIGINS", value_name = "ORIGIN", num_args = 1..,
        value_delimiter = ',', value_parser = origin, hide_short_help = true
    )]
    pub allowed_origins: Vec<HeaderValue>,

    /// Requests that may wait while --max-num-seqs run; the next one is turned away
    #[arg(
        long, env = "FORETOKEN_MAX_NUM_QUEUED_REQS", value_name = "N", value_parser = count(0),
        default_value = "256", hide_short_help = true
    )]
    pub max_num_queued_reqs: usize,

    /// Seconds that a request may wait and run; then it is cut off [default: no limit]
    #[arg(
        long, env = "FORETOKEN_REQUEST_TIMEOUT", value_name = "SECONDS", value_parser = seconds(1),
        hide_short_help = true
    )]
    pub request_timeout: Option<u64>,

    /// Seconds that requests may go on when the server is asked to stop; then they are cut off
    #[arg(
        long, env = "FORETOKEN_SHUTDOWN_TIMEOUT", value_name = "SECONDS", value_parser = seconds(0),
        default_value = "30", hide_short_help = true
    )]
    pub shutdown_timeout: u64,

    /// TOML file with these options, named as here: `max-num-seqs = 4`
    #[arg(long, env = "FORETOKEN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to log: error, warn, info, debug or trace, also by module: `info,foretoken_server=debug`
    #[arg(
        long,
        env = "FORETOKEN_LOG",
        value_name = "FILTER",
        default_value = "info",
        hide_short_help = true
    )]
    pub log: Targets,

    /// How to log: text for people, json for programs, one object a line
    #[arg(
        long,
        env = "FORETOKEN_LOG_FORMAT",
        value_enum,
        default_value = "text",
        hide_short_help = true
    )]
    pub log_format: LogFormat,

    /// Collector that a span of every request is sent to by OTLP over gRPC: http://localhost:4317, or https:// where the
    /// system's certificates (or those in SSL_CERT_FILE) vouch for it [default: none]
    #[arg(
        long, env = "FORETOKEN_OTLP_TRACES_ENDPOINT", value_name = "URL", value_parser = collector,
        hide_short_help = true
    )]
    pub otlp_traces_endpoint: Option<String>,

    /// The engine behind it.
    #[command(flatten)]
    pub engine: EngineOptions,
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// A time from `least` on, up to half a year.
fn seconds(least: u64) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(least..=1 << 24)
}

fn collector(text: &str) -> Result<String, String> {
    let is_collector =
        |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    match text.parse::<Uri>() {
        Ok(url) if is_collector(&url) => Ok(text.to_owned()),
        _ => Err("expected http://HOST:PORT or https://HOST:PORT".to_owned()),
    }
}

/// As browsers write it: no path, not even a slash.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let is_origin = text.parse::<Uri>().is_ok_and(|url| {
        let named = url.scheme_str().zip(url.authority());
        named.is_some_and(|(scheme, authority)| text == format!("{scheme}://{authority}"))
    });
    match text.parse() {
        Ok(value) if is_origin || text == "*" => Ok(value),
        _ => {
            Err("expected http://HOST:PORT, https://HOST, or such, without a path, or *".to_owned())
        }
    }
}

fn port(text: &str) -> Result<u16, String> {
    // A Kubernetes service named `foretoken` sets FORETOKEN_PORT to such an address in every pod.
    if text.contains("://") {
        return Err(
            "an address, not a port; if Kubernetes set it, put `enableServiceLinks: false` \
             into the pod's spec"
                .to_owned(),
        );
    }
    text.parse().map_err(|_| "expected 0 to 65535".to_owned())
}
