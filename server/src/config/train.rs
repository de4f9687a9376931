//! Options of `foretoken train`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use foretoken_draft::chimera::Form;
use foretoken_draft::chimera::train::{Ablation, TrainOptions, Unroll};

use super::engine::count;
use super::{EngineOptions, TextOptions};

/// Trains a drafter.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum TrainCommand {
    /// Train Chimera's heads and encoders for a model, which stays as it is
    Chimera(Box<TrainChimeraConfig>),
}

/// The target, the texts, and how to learn from them.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = HELP, mut_args(|arg| arg.hide_env(true)))]
pub struct TrainChimeraConfig {
    /// Texts: .jsonl, .parquet, and plain text; .jsonl.zst and .txt.zst too
    #[arg(long, value_name = "FILES", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,

    /// Texts to look at instead of one in a hundred of the others, which are all learnt from then
    #[arg(long, value_name = "FILES", num_args = 1..)]
    pub eval_data: Vec<PathBuf>,

    /// Folder of the drafter, its checkpoint, log and curves
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,

    /// Go on from the folder's checkpoint, with the same options
    #[arg(long)]
    pub resume: bool,

    /// How to read them.
    #[command(flatten)]
    pub texts: TextOptions,

    /// Let the target answer this many prompts out of the data first, and train on the answers alone
    #[arg(long, value_name = "N", value_parser = count(1), help_heading = ANSWERS)]
    pub answers: Option<usize>,

    /// Tokens of an answer, at most
    #[arg(
        long, value_name = "N", default_value = "256", help_heading = ANSWERS,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub answer_tokens: u32,

    /// 0 always takes the likeliest token, 1 draws by the target's own chances
    #[arg(long, value_name = "T", default_value = "1", help_heading = ANSWERS)]
    pub answer_temperature: f32,

    /// Number format of the drafter's products in training
    #[arg(long, value_enum, default_value = "float32")]
    pub precision: Precision,

    /// Number format of the drafter's files
    #[arg(long, value_enum, default_value = "bfloat16")]
    pub weights: Precision,

    /// Heads with a full matrix over the vocabulary each, as published, instead of the target's own LM head
    #[arg(long)]
    pub faithful: bool,

    /// Drafting steps that have a head of their own
    #[arg(long, value_name = "N", default_value = "4", value_parser = count(1), help_heading = SHAPE)]
    pub heads: usize,

    /// Drafting steps that are trained [default: one for each head]
    #[arg(long, value_name = "N", value_parser = count(1), help_heading = SHAPE)]
    pub steps: Option<usize>,

    /// Drafting steps that validation looks at [default: those that are trained]
    #[arg(long, value_name = "N", value_parser = count(1), help_heading = SHAPE)]
    pub validation_steps: Option<usize>,

    /// Width of the trigram encoder [default: the target's]
    #[arg(long, value_name = "N", value_parser = count(1), help_heading = SHAPE)]
    pub trigram_size: Option<usize>,

    /// Width of the feed-forward [default: the target's]
    #[arg(long, value_name = "N", value_parser = count(1), help_heading = SHAPE)]
    pub intermediate_size: Option<usize>,

    /// Draft the commonest tokens of the texts alone, so many; it is written so and trained over all [default: all]
    #[arg(long, value_name = "N", value_parser = count(1), help_heading = SHAPE)]
    pub draft_vocabulary: Option<usize>,

    /// What steps beyond the first read: the text, or the drafter's own guesses as published
    #[arg(long, value_enum, default_value = "text", help_heading = LEARNING)]
    pub unroll: UnrollChoice,

    /// Passes over the texts
    #[arg(long, value_name = "N", default_value = "1", help_heading = LEARNING)]
    pub epochs: f64,

    /// Highest learning rate
    #[arg(long, value_name = "RATE", default_value = "1e-3", help_heading = LEARNING)]
    pub learning_rate: f64,

    /// Share of the run in which the learning rate rises; a cosine takes it down again
    #[arg(long, value_name = "SHARE", default_value = "0.02", help_heading = LEARNING)]
    pub warm_up: f64,

    /// Pull of the matrices to zero
    #[arg(long, value_name = "W", default_value = "0", help_heading = LEARNING)]
    pub weight_decay: f64,

    /// A step's loss weighs this much of the one before it
    #[arg(long, value_name = "W", default_value = "0.8", help_heading = LEARNING)]
    pub step_decay: f64,

    /// Weight of the distance to the target's hidden rows
    #[arg(long, value_name = "W", default_value = "0", help_heading = LEARNING)]
    pub hidden_weight: f64,

    /// Tokens of text that are computed together
    #[arg(long, value_name = "N", default_value = "512", value_parser = count(16), help_heading = LEARNING)]
    pub rows: usize,

    /// Share of a text's places that drafting begins at, another stretch of them each time
    #[arg(long, value_name = "SHARE", default_value = "0.25", help_heading = LEARNING)]
    pub anchor_share: f64,

    /// Times --rows that one update learns from
    #[arg(long, value_name = "N", default_value = "8", value_parser = count(1), help_heading = LEARNING)]
    pub accumulation: usize,

    /// Updates between two looks at held-out texts, after which a checkpoint is written
    #[arg(long, value_name = "N", default_value = "100", value_parser = count(1), help_heading = LEARNING)]
    pub validate_every: usize,

    /// The same seed gives the same drafter
    #[arg(long, value_name = "SEED", default_value = "0", help_heading = LEARNING)]
    pub seed: u64,

    /// Leave out the trigram encoder, to see what it is worth
    #[arg(long, help_heading = ABLATION)]
    pub without_trigram: bool,

    /// Leave out attention, to see what it is worth
    #[arg(long, help_heading = ABLATION)]
    pub without_context: bool,

    /// Leave out the target's last hidden row in the heads, to see what it is worth
    #[arg(long, help_heading = ABLATION)]
    pub without_residual: bool,

    /// The target, and the engine that answers.
    #[command(flatten)]
    pub engine: EngineOptions,
}

const ANSWERS: &str = "The target's own answers";
const SHAPE: &str = "Shape";
const LEARNING: &str = "Learning";
const ABLATION: &str = "Ablation";

const HELP: &str = "\
The drafter learns what the target would say, so its own answers teach best, then texts like those
that its users ask about. One text in a hundred is held out for validation, or --eval-data.

A record of a .jsonl file is as for `foretoken table build`.";

/// Number format, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Precision {
    /// 32 bits
    Float32,
    /// 16 bits, 8 of them the exponent
    Bfloat16,
}

/// What steps read, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum UnrollChoice {
    /// What the text says
    Text,
    /// What the drafter itself thinks likeliest
    Guesses,
}

impl TrainChimeraConfig {
    /// What the trainer needs to know.
    pub fn options(&self) -> TrainOptions {
        let num_steps = self.steps.unwrap_or(self.heads);
        TrainOptions {
            form: match self.faithful {
                true => Form::Faithful,
                false => Form::Lean,
            },
            num_heads: self.heads,
            num_steps,
            num_validation_steps: self.validation_steps.unwrap_or(num_steps),
            unroll: match self.unroll {
                UnrollChoice::Text => Unroll::Text,
                UnrollChoice::Guesses => Unroll::Guesses,
            },
            ablation: Ablation {
                no_trigram: self.without_trigram,
                no_context: self.without_context,
                no_residual: self.without_residual,
            },
            trigram_size: self.trigram_size,
            intermediate_size: self.intermediate_size,
            num_rows: self.rows,
            anchor_share: self.anchor_share,
            accumulation: self.accumulation,
            num_epochs: self.epochs,
            learning_rate: self.learning_rate,
            warm_up: self.warm_up,
            weight_decay: self.weight_decay,
            step_decay: self.step_decay,
            hidden_weight: self.hidden_weight,
            bfloat16: self.precision == Precision::Bfloat16,
            seed: self.seed,
            ..TrainOptions::default()
        }
    }
}
