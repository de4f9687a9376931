//! Options of the engine, the same for every command that runs one.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, ValueEnum};

use super::SpeculationOptions;
use super::device::{DeviceChoice, share};

/// Which model, how much at once, and how it guesses.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// Folder of a model in Hugging Face's layout (config.json, tokenizer.json, *.safetensors) [default: the carried model]
    #[arg(long, env = "FORETOKEN_MODEL", value_name = "DIR", help_heading = MODEL)]
    pub model: Option<PathBuf>,

    /// Where the model computes: auto, cpu, or cuda:N for a GPU. Auto takes the first GPU if there is one that this
    /// binary can use
    #[arg(
        long, env = "FORETOKEN_DEVICE", value_name = "DEVICE", default_value = "auto",
        help_heading = MODEL
    )]
    pub device: DeviceChoice,

    /// Number format of weights, activations and cache
    #[arg(
        long, env = "FORETOKEN_DTYPE", value_enum, default_value = "auto",
        help_heading = MODEL, hide_short_help = true
    )]
    pub dtype: DtypeChoice,

    /// Rounds the matrices further, for speed and memory, on the CPU so far; the text changes a little
    #[arg(
        long, env = "FORETOKEN_QUANTIZATION", value_enum, help_heading = MODEL,
        hide_short_help = true
    )]
    pub quantization: Option<QuantizationChoice>,

    /// Has a GPU's kernels launched one by one, as vLLM calls it, and not replayed as CUDA graphs. The text is the same
    #[arg(
        long, env = "FORETOKEN_ENFORCE_EAGER", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true",
        action = ArgAction::Set, help_heading = MODEL, hide_short_help = true
    )]
    pub enforce_eager: bool,

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

    /// Keep what is computed of prompts for others that begin alike (the default)
    #[arg(
        long, env = "FORETOKEN_ENABLE_PREFIX_CACHING", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_value = "true", default_missing_value = "true",
        action = ArgAction::Set, overrides_with = "no_enable_prefix_caching",
        help_heading = BATCHING, hide_short_help = true
    )]
    pub enable_prefix_caching: bool,

    /// Compute every prompt anew
    #[arg(
        long, env = "FORETOKEN_NO_ENABLE_PREFIX_CACHING", value_name = "BOOL", num_args = 0..=1,
        require_equals = true, default_value = "false", default_missing_value = "true",
        action = ArgAction::Set, overrides_with = "enable_prefix_caching", help_heading = BATCHING, hide_short_help = true
    )]
    no_enable_prefix_caching: bool,

    /// Share of a GPU's memory that this process may fill, with weights, cache and all else
    #[arg(
        long, env = "FORETOKEN_GPU_MEMORY_UTILIZATION", value_name = "SHARE", value_parser = share,
        default_value = "0.9", help_heading = BATCHING, hide_short_help = true
    )]
    pub gpu_memory_utilization: f64,

    /// Memory of the keys and values of all requests together: 4GiB, or 4G, or a number of bytes [default: what
    /// --max-num-seqs requests take at most, if the machine has it]
    #[arg(
        long, env = "FORETOKEN_KV_CACHE_MEMORY_BYTES", value_name = "SIZE", value_parser = size,
        help_heading = BATCHING, hide_short_help = true
    )]
    pub kv_cache_memory_bytes: Option<u64>,

    /// Who guesses, and how much.
    #[command(flatten)]
    pub speculation: SpeculationOptions,
}

impl EngineOptions {
    /// Puts options that stand for others into those, then checks them against each other.
    pub(super) fn resolve(&mut self) -> Result<(), String> {
        self.enable_prefix_caching &= !std::mem::take(&mut self.no_enable_prefix_caching);
        self.speculation.resolve()
    }
}

impl EngineOptions {
    /// Rows of the largest step, which always has room for one of every running sequence.
    pub(crate) fn rows_per_step(&self) -> usize {
        self.max_num_batched_tokens.max(self.max_num_seqs)
    }
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

/// Units of sizes. As in vLLM, a lower-case letter alone counts in thousands, an upper-case one in 1024s.
const UNITS: [(&str, u64); 18] = [
    ("", 1),
    ("B", 1),
    ("k", 1000),
    ("kB", 1000),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("m", 1000_u64.pow(2)),
    ("MB", 1000_u64.pow(2)),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("g", 1000_u64.pow(3)),
    ("GB", 1000_u64.pow(3)),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("t", 1000_u64.pow(4)),
    ("TB", 1000_u64.pow(4)),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
];

/// A number of bytes with a unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let scale = UNITS.iter().find(|(name, _)| *name == unit);
    let size = scale.and_then(|&(_, scale)| number.parse::<u64>().ok()?.checked_mul(scale));
    size.ok_or_else(|| "expected a whole number and a unit, such as 4GiB, 4G or 500MB".to_owned())
}

/// A number from `least` on. The upper end is beyond any machine, and sums of such numbers do not overflow.
pub(super) fn count(least: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=1 << 24)
}
