//! Options of the engine, the same for every command that runs one.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::SpeculationOptions;

/// Which model, how much at once, and how it guesses.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// Folder of a model in Hugging Face's layout (config.json, tokenizer.json, *.safetensors) [default: the carried model]
    #[arg(long, env = "FORETOKEN_MODEL", value_name = "DIR", help_heading = MODEL)]
    pub model: Option<PathBuf>,

    /// Number format of weights, activations and cache
    #[arg(
        long, env = "FORETOKEN_DTYPE", value_enum, default_value = "auto",
        help_heading = MODEL, hide_short_help = true
    )]
    pub dtype: DtypeChoice,

    /// Rounds the matrices further, for speed and memory; the text changes a little
    #[arg(
        long, env = "FORETOKEN_QUANTIZATION", value_enum, help_heading = MODEL,
        hide_short_help = true
    )]
    pub quantization: Option<QuantizationChoice>,

    /// Tokens of prompt and output together, at most [default: what the model was trained for]
    #[arg(
        long, env = "FORETOKEN_MAX_MODEL_LEN", value_name = "N", value_parser = count(1),
        help_heading = MODEL, hide_short_help = true
    )]
    pub max_model_len: Option<usize>,

    /// CPU threads of the engine [default: one for each core]
    #[arg(
        long, env = "FORETOKEN_THREADS", value_name = "N", value_parser = count(1),
        help_heading = MODEL
    )]
    pub threads: Option<usize>,

    /// Requests that run at the same time
    #[arg(
        long, env = "FORETOKEN_MAX_NUM_SEQS", value_name = "N", value_parser = count(1),
        default_value = "16", help_heading = BATCHING
    )]
    pub max_num_seqs: usize,

    /// Tokens that one step computes, prompts and drafts of all requests together
    #[arg(
        long, env = "FORETOKEN_MAX_NUM_BATCHED_TOKENS", value_name = "N", value_parser = count(1),
        default_value = "512", help_heading = BATCHING, hide_short_help = true
    )]
    pub max_num_batched_tokens: usize,

    /// Who guesses, and how much.
    #[command(flatten)]
    pub speculation: SpeculationOptions,
}

const MODEL: &str = "Model";
const BATCHING: &str = "Batching";

/// Number format, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum DtypeChoice {
    /// What the model's files hold
    Auto,
    /// The finest, twice the memory
    Float32,
    /// Half the memory, faster on processors that have it
    Bfloat16,
}

/// Rounding of matrices, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum QuantizationChoice {
    /// Eight bits a weight, with a scale for each output
    Int8,
}

/// A number from `least` on. The upper end is beyond any machine, and sums of such numbers do not overflow.
pub(super) fn count(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=1 << 24)
}
