//! The binary `foretoken`.

use std::process::ExitCode;

use foretoken_server::config::{self, Command};

fn main() -> ExitCode {
    let command = config::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let done = match command {
        Command::Serve(config) => foretoken_server::serve::run(config),
        Command::Generate(config) => foretoken_server::generate::generate(config),
        Command::Table(command) => foretoken_server::table::run(command),
        Command::Train(command) => foretoken_server::train::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foretoken: {error:#}");
            ExitCode::FAILURE
        }
    }
}
