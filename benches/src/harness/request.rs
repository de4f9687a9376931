//! What is asked, in the words of no particular wire.

use clap::Args;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The question's id in its workload.
    pub id: String,
    /// What kind of question it is; acceptance is reported by it.
    pub category: String,
    /// What the user says.
    pub prompt: String,
    /// The same seed and prompt give the same text, where the server keeps that promise.
    pub seed: u64,
    /// Tokens of the answer, at most.
    pub max_tokens: u32,
    /// None leaves it to the server.
    pub temperature: Option<f32>,
    /// Always answers with `max_tokens` tokens.
    pub ignore_eos: bool,
    /// How the server is to guess.
    pub drafting: Drafting,
}

/// How a request asks a foretoken server to draft. What is missing is left to the server, so that requests without
/// any of it suit every server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drafting {
    /// A drafter's name, or `none`.
    pub drafter: Option<String>,
    /// Draft tokens that one step may verify.
    pub max_draft_tokens: Option<u32>,
}

/// What all requests of a run share.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Requests")]
pub struct RequestOptions {
    /// Tokens of an answer, at most; a trace brings its own
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub output_len: u32,

    /// Sampling temperature [default: the server's]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,

    /// Answers go on to --output-len
    #[arg(long)]
    pub ignore_eos: bool,

    /// Decides arrivals, prompts and the seeds that requests carry
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}
