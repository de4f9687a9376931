//! The binary `foretoken-bench`.

use std::process::ExitCode;

use clap::Parser;
use foretoken_benches::harness::{self, Cli};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match harness::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foretoken-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
