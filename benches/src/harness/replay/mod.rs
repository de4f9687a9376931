//! Drafters on recorded answers, without a model: exact acceptance in seconds.

mod play;
mod published;
mod record;
mod result;
mod transcript;
mod variants;

use anyhow::{Result, ensure};
use clap::Args;
use foretoken_draft::Drafter;
use foretoken_server::config::EngineOptions;

use super::progress::bar;
pub use play::{Played, Player};
pub use record::{RecordOptions, record};
pub use result::{Counts, ReplayResult};
pub use transcript::{Transcript, read, write};
pub use variants::drafters;

/// Which drafters on which answers.
#[derive(Args, Clone, Debug)]
pub struct ReplayOptions {
    /// Files that `record` wrote
    #[arg(required = true)]
    pub transcripts: Vec<std::path::PathBuf>,

    /// Drafters to compare: a server's (by default all of these), trigram-mcts, trigram-no-noise, trigram-no-overlay,
    /// trigram-no-table, trigram-published
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub drafters: Vec<String>,

    /// Draft tokens that each step verifies
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8,32",
          value_parser = clap::value_parser!(u32).range(1..=63))]
    pub budgets: Vec<u32>,

    /// The model that was recorded, and the drafters' files.
    #[command(flatten)]
    pub engine: EngineOptions,
}

/// Replays every transcript with every drafter at every budget; one result for each workload and temperature.
pub fn replay(options: &ReplayOptions) -> Result<Vec<ReplayResult>> {
    let mut transcripts = Vec::new();
    for path in &options.transcripts {
        transcripts.extend(read(path)?);
    }
    ensure!(!transcripts.is_empty(), "the files hold no transcript");
    let num_drafters = drafters(&options.engine, &options.drafters)?.len();
    let num_plays = num_drafters * options.budgets.len() * transcripts.len();
    let progress = bar("replaying", num_plays)?;
    let mut results = Vec::new();
    for &budget in &options.budgets {
        // What one budget's replay has taught a drafter, another's must not know.
        for drafter in &mut drafters(&options.engine, &options.drafters)? {
            let done = || progress.inc(1);
            let played = results_of(drafter.as_mut(), budget as usize, &transcripts, done)?;
            results.extend(played);
        }
    }
    progress.finish_and_clear();
    results.sort_by(|a: &ReplayResult, b| {
        a.place()
            .partial_cmp(&b.place())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    Ok(results)
}

/// One drafter at one budget on all transcripts, summed up by workload and temperature.
pub fn results_of(
    drafter: &mut dyn Drafter,
    budget: usize,
    transcripts: &[Transcript],
    mut done: impl FnMut(),
) -> Result<Vec<ReplayResult>> {
    let mut results: Vec<ReplayResult> = Vec::new();
    let mut player = Player::new(drafter, budget);
    for transcript in transcripts {
        let played = player.play(transcript)?;
        let new = ReplayResult::new(player.name(), budget, transcript);
        let place = results.iter().position(|result| result.is_of(&new));
        let index = place.unwrap_or_else(|| {
            results.push(new);
            results.len() - 1
        });
        results[index].add(transcript, &played);
        done();
    }
    Ok(results)
}
