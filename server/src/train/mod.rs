//! `foretoken train`: makes a drafter for a model.

mod answers;
mod chimera;
mod curves;
mod journal;

use anyhow::Result;

use crate::config::TrainCommand;

/// Does what the command says.
pub fn run(command: TrainCommand) -> Result<()> {
    match command {
        TrainCommand::Chimera(config) => chimera::train(&config),
    }
}
