//! Command line, environment and configuration file, checked and typed. Nothing else reads them.

mod device;
mod engine;
mod file;
mod generate;
mod serve;
mod speculation;
mod table;
mod texts;
mod train;

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, Error, FromArgMatches, Parser, Subcommand};

pub use device::DeviceChoice;
pub use engine::{DtypeChoice, EngineOptions, QuantizationChoice};
pub use generate::GenerateConfig;
pub use serve::{LogFormat, ServeConfig};
pub use speculation::{ChimeraTree, SpeculationOptions, TrigramSearch};
pub use table::{CountingConfig, TableBuildConfig, TableCommand, TableInfoConfig, TableKind};
pub use texts::TextOptions;
pub use train::{Precision, TrainChimeraConfig, TrainCommand, UnrollChoice};

/// Serves a language model over HTTP and gRPC, and guesses ahead to answer faster.
///
/// Without any option it serves the small model that it carries.
#[derive(Parser)]
#[command(
    name = "foretoken",
    version,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeConfig,
}

const AFTER_HELP: &str = "\
Examples:
  foretoken                                       serve the model that foretoken carries
  foretoken --model ./my-model --port 9000        serve another one
  foretoken generate -p 'Find me a hotel in Rome' answer one prompt and exit
  foretoken table build --input *.jsonl --output t.ftt   count what follows what
  foretoken train chimera --data *.jsonl --output chimera   train a drafter

The server's options are also environment variables: --max-num-seqs is FORETOKEN_MAX_NUM_SEQS.
They can stand in a file, too (--config). The command line wins over the environment, the
environment over the file.";

/// What `foretoken` is asked to do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Serve a model over HTTP and gRPC (what happens without a command)
    Serve(ServeConfig),
    /// Answer one prompt on the terminal and exit
    Generate(GenerateConfig),
    /// Make a table of texts for a drafter, or look into one
    #[command(subcommand)]
    Table(TableCommand),
    /// Train a drafter
    #[command(subcommand)]
    Train(TrainCommand),
}

/// Reads the arguments, the program's name first, and what they leave open from environment and file.
///
/// The error knows how to print itself and how to exit; `--help` and `--version` are such errors too.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let (mut command, matches) = parse_args(&args)?;
    if let Command::Serve(serve) = &command
        && let Some(path) = &serve.config
    {
        command = parse_with_file(args, &matches, path)?;
    }
    let engine = match &mut command {
        Command::Serve(serve) => &mut serve.engine,
        Command::Generate(generate) => &mut generate.engine,
        Command::Train(TrainCommand::Chimera(train)) => &mut train.engine,
        Command::Table(_) => return Ok(command),
    };
    engine
        .resolve()
        .map_err(|problem| Cli::command().error(ErrorKind::ValueValidation, problem))?;
    Ok(command)
}

/// Command line over environment over defaults, and where each value came from.
fn parse_args(args: &[OsString]) -> Result<(Command, ArgMatches), Error> {
    let mut definition = Cli::command();
    let matches = definition.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
    Ok((cli.command.unwrap_or(Command::Serve(cli.serve)), matches))
}

/// The same with the file between environment and defaults.
fn parse_with_file(
    mut args: Vec<OsString>,
    matches: &ArgMatches,
    path: &Path,
) -> Result<Command, Error> {
    let matches = matches.subcommand_matches("serve").unwrap_or(matches);
    args.extend(file::arguments(path, matches).map_err(|problem| in_file(path, problem))?);
    let (command, _) = parse_args(&args).map_err(|error| with_tip(error, path))?;
    Ok(command)
}

fn in_file(path: &Path, problem: String) -> Error {
    let problem = format!("{}: {problem}", path.display());
    Cli::command().error(ErrorKind::ValueValidation, problem)
}

/// clap blames the command line; this says where else to look.
fn with_tip(mut error: Error, path: &Path) -> Error {
    let tip = format!("see also what {} sets", path.display());
    error.insert(
        ContextKind::Suggested,
        ContextValue::StyledStrs(vec![tip.into()]),
    );
    error
}
