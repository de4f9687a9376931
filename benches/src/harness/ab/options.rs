//! Options of `foretoken-bench ab`.

use clap::Args;

use crate::harness::request::RequestOptions;
use crate::harness::server::ServerOptions;
use crate::harness::workload::WorkloadOptions;

/// Which two ways. With one server, A is plain decoding and B is what the server does by itself.
#[derive(Args, Clone, Debug)]
pub struct AbOptions {
    /// Server of B [default: A's]
    #[arg(long, value_name = "URL", conflicts_with = "in_process")]
    pub url_b: Option<String>,

    /// Drafter that A's requests ask for [default: none, or the server's if there is --url-b]
    #[arg(long, value_name = "NAME")]
    pub drafter_a: Option<String>,

    /// Drafter that B's requests ask for [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub drafter_b: Option<String>,

    /// Draft tokens that B's requests allow in a step [default: the server's]
    #[arg(long, value_name = "N")]
    pub max_draft_tokens_b: Option<u32>,

    /// Requests under way at the same time; several are run one after another
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Vec<u32>,

    /// Pairs of blocks for each workload and concurrency; from 6 on there are intervals
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: u32,

    /// About how long a block takes; it holds two requests for each slot at least
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5)]
    pub block_seconds: f64,

    /// Prompts.
    #[command(flatten)]
    pub workload: WorkloadOptions,

    /// Requests.
    #[command(flatten)]
    pub requests: RequestOptions,

    /// The server of A; one in this process runs as many requests as the largest --concurrency asks for.
    #[command(flatten)]
    pub server: ServerOptions,
}
