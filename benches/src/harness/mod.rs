//! `foretoken-bench`: what a server is worth, in the order in which a request passes through.
//!
//! request → schedule → send → record → summarise → report. `drive` takes requests from their schedule to their
//! records; `load`, `ab` and `soak` are the experiments made of these; `replay` needs answers alone,
//! `policy` nothing.

pub mod workload;

pub mod request;

pub mod schedule;

pub mod send;
pub mod server;

pub mod drive;
pub mod record;

pub mod summary;

pub mod ab;
pub mod load;
pub mod policy;
pub mod replay;
pub mod soak;

pub mod report;

mod progress;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use ab::AbOptions;
use load::LoadOptions;
use policy::PolicyOptions;
use replay::{RecordOptions, ReplayOptions};
use report::{Origin, Report};
use soak::SoakOptions;

/// Measures servers of language models: latency under load, speculation on and off, and what breaks.
#[derive(Debug, Parser)]
#[command(name = "foretoken-bench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Folder for report.html and report.json
    #[arg(long, global = true, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends requests at a rate or at a concurrency, and reports latencies and throughput
    #[command(visible_alias = "serve")]
    Load(Box<LoadOptions>),
    /// Sends the same requests with speculation off and on (or to two servers) in turns, and compares
    Ab(Box<AbOptions>),
    /// Overloads a server with good, rude and broken clients for minutes, and checks that nothing gives
    Soak(Box<SoakOptions>),
    /// Writes down what a server in this process answers, token by token, for replay
    Record(Box<RecordOptions>),
    /// Lets drafters draft recorded answers again, without a model: exact acceptance in seconds
    Replay(Box<ReplayOptions>),
    /// Lets the budget follow a text that flips between copies and noise, on a simulated clock
    Policy(PolicyOptions),
    /// Draws the page again, from one report.json or several together
    Report {
        /// As written by --output
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Does it, prints the result, and writes the report where one is asked for.
pub async fn run(cli: Cli) -> Result<()> {
    let mut report = Report::default();
    match &cli.command {
        Command::Load(options) => report.loads = load::run(options).await?,
        Command::Ab(options) => report.comparisons = ab::run(options).await?,
        Command::Soak(options) => report.soaks.push(soak::run(options).await?),
        Command::Record(options) => return replay::record(options).await,
        Command::Replay(options) => report.replays = replay::replay(options)?,
        Command::Policy(options) => report.policies = policy::run(options),
        Command::Report { files } => report = Report::read(files)?,
    }
    if !matches!(cli.command, Command::Report { .. }) {
        report.origins.push(Origin::here());
    }
    print!("{}", report.text());
    if let Some(folder) = &cli.output {
        report.write(folder)?;
    }
    let violations: usize = report.soaks.iter().map(|soak| soak.violations.len()).sum();
    ensure!(violations == 0, "{violations} violations");
    Ok(())
}
