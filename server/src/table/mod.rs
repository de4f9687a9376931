//! `foretoken table`: makes the table of `trigram` or the corpus of `infini`, or looks into one.

mod build;
mod corpus;
mod info;
mod tokens;

use anyhow::Result;

use crate::config::TableCommand;

/// Does what the command says.
pub fn run(command: TableCommand) -> Result<()> {
    match command {
        TableCommand::Build(config) => build::build(&config),
        TableCommand::Info(config) => info::info(&config),
    }
}
