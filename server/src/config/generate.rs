//! Options of `foretoken generate`.

use clap::Args;
use tracing_subscriber::filter::Targets;

use super::EngineOptions;

/// One prompt, how to answer it, and the engine that does.
///
/// Sampling is stated as in a request: what is missing comes from the model, what is wrong is refused at admission.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Generation", mut_args(|arg| arg.hide_env(true)))]
pub struct GenerateConfig {
    /// What to say to the model
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: String,

    /// Continue the text as it stands, instead of answering it as a chat message
    #[arg(long)]
    pub raw: bool,

    /// Tokens to generate, at most
    #[arg(
        long, value_name = "N", default_value = "256",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_tokens: u32,

    /// 0 always takes the likeliest token, 1 draws by the model's own chances [default: the model's]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,

    /// Draw from the likeliest tokens that make up this much of the chance, above 0 to 1 [default: the model's]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,

    /// Draw from this many of the likeliest tokens; 0 or -1 is all [default: the model's]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub top_k: Option<i64>,

    /// Leave out tokens below this share of the likeliest one's chance, 0 to 1 [default: the model's]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,

    /// The same seed gives the same text [default: another one every time]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,

    /// Mark in the output which tokens were guessed
    #[arg(long)]
    pub show_drafts: bool,

    /// What to log: error, warn, info, debug or trace, also by module
    #[arg(
        long,
        env = "FORETOKEN_LOG",
        value_name = "FILTER",
        default_value = "warn",
        hide_short_help = true
    )]
    pub log: Targets,

    /// The engine behind it.
    #[command(flatten)]
    pub engine: EngineOptions,
}
