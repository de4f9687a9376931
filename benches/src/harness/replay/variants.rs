//! The served drafters, and what they are compared with: the same with parts left out, and the published program.

use anyhow::{Result, ensure};
use candle_core::Result as DraftResult;
use foretoken_draft::trigram::{Search, TrigramOptions};
use foretoken_draft::{Context, DraftTree, Drafter, Trigram};
use foretoken_model::SeqId;
use foretoken_server::config::EngineOptions;
use foretoken_server::launch::{drafters_of, table_of};

use super::published::Published;

/// Variants of `trigram`, by name.
const TRIGRAM_VARIANTS: [&str; 4] = [
    "trigram-mcts",
    "trigram-no-noise",
    "trigram-no-overlay",
    "trigram-no-table",
];

/// The drafters asked for; without a question, those of a server.
pub fn drafters(options: &EngineOptions, asked: &[String]) -> Result<Vec<Box<dyn Drafter>>> {
    let mut drafters = drafters_of(options)?;
    if asked.is_empty() {
        return Ok(drafters);
    }
    for name in TRIGRAM_VARIANTS {
        drafters.push(Box::new(variant(options, name)?));
    }
    drafters.push(Box::new(Published::new(table_of(options)?)));
    let names: Vec<&str> = drafters.iter().map(|drafter| drafter.name()).collect();
    for asked in asked {
        ensure!(
            names.contains(&asked.as_str()),
            "there is no drafter `{asked}`, only {}",
            names.join(", ")
        );
    }
    drafters.retain(|drafter| asked.iter().any(|asked| asked == drafter.name()));
    Ok(drafters)
}

fn variant(options: &EngineOptions, name: &'static str) -> Result<Variant> {
    let search = match name {
        "trigram-mcts" => Search::Mcts,
        _ => Search::BestFirst,
    };
    let table = match name {
        "trigram-no-table" => None,
        _ => table_of(options)?,
    };
    let options = TrigramOptions {
        search,
        adapts: name != "trigram-no-overlay",
        shares_noise: name != "trigram-no-noise",
    };
    Ok(Variant {
        name,
        drafter: Trigram::with_options(table, options),
    })
}

/// A drafter under a name of its own.
struct Variant {
    name: &'static str,
    drafter: Trigram,
}

impl Drafter for Variant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> DraftResult<Vec<DraftTree>> {
        self.drafter.propose(contexts)
    }

    fn forget(&mut self, seq: SeqId) {
        self.drafter.forget(seq);
    }
}
