//! The binary `foretoken`.

use std::process::ExitCode;

use foretoken_server::config::{self, Command};
use foretoken_server::generate::generate;
use foretoken_server::serve::serve;

fn main() -> ExitCode {
    let command = config::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let done = match command {
        Command::Serve(config) => serve(config),
        Command::Generate(config) => generate(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foretoken: {error:#}");
            ExitCode::FAILURE
        }
    }
}
