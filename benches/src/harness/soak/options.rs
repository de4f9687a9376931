//! Options of `foretoken-bench soak`.

use clap::Args;

use crate::harness::request::RequestOptions;
use crate::harness::server::ServerOptions;
use crate::harness::workload::WorkloadOptions;

/// How hard, and for how long.
#[derive(Args, Clone, Debug)]
pub struct SoakOptions {
    /// How long requests arrive
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub minutes: f64,

    /// Arrivals, as a multiple of what the server can answer
    #[arg(long, value_name = "X", default_value_t = 3.0)]
    pub overload: f64,

    /// Share of the requests whose client hangs up midway
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    pub cancelled: f64,

    /// Share of the requests that make no sense
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub malformed: f64,

    /// Different requests; each is asked again when the server is idle
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub distinct: u16,

    /// Of ninety-nine of a hundred refusals, none may take longer
    #[arg(long, value_name = "MS", default_value_t = 50.0)]
    pub max_refusal_ms: f64,

    /// Requests that may wait in a server of this process
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub max_num_queued_reqs: usize,

    /// The server's process, whose memory is watched [default: this one, with --in-process]
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Prompts.
    #[command(flatten)]
    pub workload: WorkloadOptions,

    /// Requests; answers are 1 to 2 times --output-len long, at most.
    #[command(flatten)]
    pub requests: RequestOptions,

    /// The server.
    #[command(flatten)]
    pub server: ServerOptions,
}
