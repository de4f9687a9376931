//! Options of speculation, and vLLM's JSON for them.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, ValueEnum};
use serde_json::{Map, Value};

use super::engine::{count, size};
use crate::validation::MAX_DRAFT_TOKENS;

/// Who guesses, and how much. Requests may ask for something else, within what the engine has.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Speculation (changes the speed, never the text)")]
pub struct SpeculationOptions {
    /// Who guesses the next tokens: a table of what follows what, the text so far, a corpus, all of these together
    /// (auto), a network that was trained for the model (chimera), a smaller model, or nobody
    #[arg(
        long, env = "FORETOKEN_DRAFTER", value_name = "NAME", value_parser = DRAFTERS,
        default_value = "auto"
    )]
    pub drafter: String,

    /// The trigram drafter's table [default: the model's own]
    #[arg(
        long,
        env = "FORETOKEN_TRIGRAM_TABLE",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub trigram_table: Option<PathBuf>,

    /// How the trigram drafter grows its trees: the likeliest node first, or the paper's Monte Carlo tree search, for
    /// comparison
    #[arg(
        long,
        env = "FORETOKEN_TRIGRAM_SEARCH",
        value_name = "NAME",
        default_value = "best-first",
        hide_short_help = true
    )]
    pub trigram_search: TrigramSearch,

    /// The infini drafter's corpus, which auto guesses from, too; without one there is no such drafter
    #[arg(
        long,
        env = "FORETOKEN_INFINI_CORPUS",
        value_name = "PATH",
        hide_short_help = true
    )]
    pub infini_corpus: Option<PathBuf>,

    /// Folder of the chimera drafter's network, as `foretoken train chimera` writes it; with --drafter chimera, the folder
    /// `chimera` beside the model unless this names another
    #[arg(
        long,
        env = "FORETOKEN_CHIMERA",
        value_name = "DIR",
        hide_short_help = true
    )]
    pub chimera: Option<PathBuf>,

    /// How the chimera drafter grows its trees: the likeliest nodes, or the published tree of 25 nodes, for comparison
    #[arg(
        long,
        env = "FORETOKEN_CHIMERA_TREE",
        value_name = "NAME",
        default_value = "dynamic",
        hide_short_help = true
    )]
    pub chimera_tree: ChimeraTree,

    /// Folder of the drafter model's weights: a smaller model of the same vocabulary; without one there is no such
    /// drafter
    #[arg(
        long,
        env = "FORETOKEN_DRAFT_MODEL",
        value_name = "DIR",
        hide_short_help = true
    )]
    pub draft_model: Option<PathBuf>,

    /// Tokens guessed for a request in one step, at most; 0 guesses none, 63 is the limit
    #[arg(
        long, env = "FORETOKEN_MAX_DRAFT_TOKENS", value_name = "N", value_parser = draft_count(0),
        default_value = "16"
    )]
    pub max_draft_tokens: usize,

    /// Guesses that are checked even if that costs speed; for measurements
    #[arg(
        long, env = "FORETOKEN_MIN_DRAFT_TOKENS", value_name = "N", value_parser = draft_count(0),
        default_value = "0", hide_short_help = true
    )]
    pub min_draft_tokens: usize,

    /// Tokens guessed ahead along one branch, at most
    #[arg(
        long, env = "FORETOKEN_MAX_DRAFT_DEPTH", value_name = "N", value_parser = draft_count(1),
        default_value = "63", hide_short_help = true
    )]
    pub max_draft_depth: usize,

    /// Guess from earlier requests' answers too, where both have the same cache_salt or none; whoever can ask may then
    /// find out by time what others were answered (by the drafters auto and lookup)
    #[arg(
        long, env = "FORETOKEN_SHARE_OUTPUTS", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true",
        action = ArgAction::Set, hide_short_help = true
    )]
    pub share_outputs: bool,

    /// Tokens of answers that --share-outputs keeps, at most, the latest; some 160 bytes each, in each of
    /// the two drafters
    #[arg(
        long, env = "FORETOKEN_SHARE_OUTPUTS_TOKENS", value_name = "N", value_parser = count(1024),
        default_value = "262144", hide_short_help = true
    )]
    pub share_outputs_tokens: usize,

    /// Learn what follows what from all answers but those to requests with a cache_salt, have the trigram drafter guess
    /// from it, and keep it in this file from one start to the next; whoever can ask may then find out by time what
    /// others were answered
    #[arg(
        long,
        env = "FORETOKEN_SHARED_OVERLAY",
        value_name = "FILE",
        hide_short_help = true
    )]
    pub shared_overlay: Option<PathBuf>,

    /// Memory of --shared-overlay, at most: what has not come up for longest is forgotten
    #[arg(
        long, env = "FORETOKEN_SHARED_OVERLAY_SIZE", value_name = "SIZE", value_parser = size,
        default_value = "64MiB", hide_short_help = true
    )]
    pub shared_overlay_size: u64,

    /// vLLM's form of --drafter, --max-draft-tokens and --draft-model: '{"method": "ngram", "num_speculative_tokens": 8}'
    #[arg(
        long, env = "FORETOKEN_SPECULATIVE_CONFIG", value_name = "JSON", hide_short_help = true,
        conflicts_with_all = ["drafter", "max_draft_tokens", "draft_model"]
    )]
    speculative_config: Option<SpeculativeConfig>,
}

/// Names that `--trigram-search` takes.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum TrigramSearch {
    /// The likeliest node first.
    BestFirst,
    /// Monte Carlo tree search.
    Mcts,
}

/// Names that `--chimera-tree` takes.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum ChimeraTree {
    /// The likeliest nodes.
    Dynamic,
    /// Always the same ones.
    Fixed,
}

/// Names that `--drafter` takes.
const DRAFTERS: [&str; 7] = [
    "auto", "trigram", "lookup", "infini", "chimera", "model", "none",
];

fn draft_count(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=MAX_DRAFT_TOKENS as u64)
}

impl SpeculationOptions {
    /// Puts vLLM's JSON into the options that it stands for, then checks these against each other.
    pub(super) fn resolve(&mut self) -> Result<(), String> {
        if let Some(config) = self.speculative_config.take() {
            let implied = config.draft_model.is_some().then(|| "model".to_owned());
            if let Some(drafter) = config.drafter.or(implied) {
                self.drafter = drafter;
            }
            if let Some(max_draft_tokens) = config.max_draft_tokens {
                self.max_draft_tokens = max_draft_tokens;
            }
            if let Some(draft_model) = config.draft_model {
                self.draft_model = Some(draft_model);
            }
        }
        let (min, max) = (self.min_draft_tokens, self.max_draft_tokens);
        if min > max {
            return Err(format!(
                "--min-draft-tokens is {min}, more than --max-draft-tokens, which is {max}"
            ));
        }
        if self.drafter == "infini" && self.infini_corpus.is_none() {
            return Err("the drafter infini needs a corpus: --infini-corpus PATH".to_owned());
        }
        if self.drafter == "model" && self.draft_model.is_none() {
            return Err("the drafter model needs a draft model: --draft-model DIR".to_owned());
        }
        Ok(())
    }
}

/// What foretoken takes from vLLM's `--speculative-config`.
#[derive(Clone, Debug, Default, PartialEq)]
struct SpeculativeConfig {
    drafter: Option<String>,
    max_draft_tokens: Option<usize>,
    draft_model: Option<PathBuf>,
}

impl FromStr for SpeculativeConfig {
    type Err = String;

    fn from_str(json: &str) -> Result<Self, String> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| format!("not a JSON object: {error}"))?;
        let mut config = Self::default();
        for (key, value) in &object {
            match key.as_str() {
                "method" => config.drafter = Some(drafter(value)?),
                "model" => config.draft_model = Some(directory(value)?),
                "num_speculative_tokens" => config.max_draft_tokens = Some(num_tokens(value)?),
                key => return Err(format!("`{key}` {}", refusal(key))),
            }
        }
        Ok(config)
    }
}

fn drafter(method: &Value) -> Result<String, String> {
    match method.as_str() {
        Some("ngram") => Ok("lookup".to_owned()),
        Some("draft_model") => Ok("model".to_owned()),
        Some(name) if DRAFTERS.contains(&name) => Ok(name.to_owned()),
        _ => Err(format!(
            "`method` is {method}, expected \"ngram\" (the drafter lookup), \"draft_model\" (the drafter model) or one of: {}",
            DRAFTERS.join(", ")
        )),
    }
}

fn directory(model: &Value) -> Result<PathBuf, String> {
    let path = model.as_str().map(PathBuf::from);
    path.ok_or_else(|| format!("`model` is {model}, expected the folder of a draft model"))
}

fn num_tokens(value: &Value) -> Result<usize, String> {
    value
        .as_u64()
        .filter(|&number| number <= MAX_DRAFT_TOKENS as u64)
        .map(|number| number as usize)
        .ok_or_else(|| {
            format!("`num_speculative_tokens` is {value}, expected 0 to {MAX_DRAFT_TOKENS}")
        })
}

/// Why a key is not taken. To ignore one silently would run something other than what was asked for.
fn refusal(key: &str) -> &'static str {
    match key {
        "prompt_lookup_min" | "prompt_lookup_max" => {
            "is not needed: the drafter lookup continues the longest match, whatever its length"
        }
        "disable_by_batch_size" | "num_speculative_tokens_per_batch_size" => {
            "is not needed: drafts shrink with the load by themselves, as their measured price says"
        }
        "rejection_sample_method"
        | "draft_sample_method"
        | "synthetic_acceptance_length"
        | "synthetic_acceptance_rates" => {
            "has no meaning here: the model draws every token itself, and drafts that match are kept"
        }
        "revision" => "has no meaning here: `model` is a folder",
        "quantization" | "max_model_len" | "draft_tensor_parallel_size" => {
            "is not needed: a draft model is loaded as the model itself is"
        }
        "use_heterogeneous_vocab" => {
            "is not supported: a draft model needs the vocabulary of the model"
        }
        "suffix_decoding_max_tree_depth"
        | "suffix_decoding_max_cached_requests"
        | "suffix_decoding_max_spec_factor"
        | "suffix_decoding_min_token_prob" => {
            "is about suffix decoding, and there is no such drafter yet"
        }
        _ => "is unknown, expected `method` or `num_speculative_tokens`",
    }
}
