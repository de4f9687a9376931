//! How a drafter is trained.

use serde::{Deserialize, Serialize};

use crate::chimera::Form;

/// Everything that decides what a training run computes, its data and its target aside.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TrainOptions {
    /// What a head is.
    pub form: Form,
    /// Drafting steps with a head of their own.
    pub num_heads: usize,
    /// Drafting steps that are trained.
    pub num_steps: usize,
    /// Drafting steps that validation looks at: more than are trained, to see what training them is worth.
    pub num_validation_steps: usize,
    /// What a step reads.
    pub unroll: Unroll,
    /// What is left out.
    pub ablation: Ablation,
    /// Width of the trigram encoder, if not the target's.
    pub trigram_size: Option<usize>,
    /// Width of the feed-forward, if not the target's.
    pub intermediate_size: Option<usize>,

    /// Tokens of text that are computed together.
    pub num_rows: usize,
    /// Share of a text's rows that drafting begins at, another stretch of them each time.
    pub anchor_share: f64,
    /// Examples of `num_rows` tokens that an update sums over.
    pub accumulation: usize,
    /// Passes over the texts.
    pub num_epochs: f64,

    /// At its highest.
    pub learning_rate: f64,
    /// Share of the run in which the learning rate rises.
    pub warm_up: f64,
    /// Share of the learning rate that is left at the end.
    pub final_share: f64,
    /// Pulls matrices to zero, by this share of the learning rate.
    pub weight_decay: f64,
    /// Longest gradient that is followed as it is.
    pub clip: f64,
    /// A step's loss weighs this much of the one before it.
    pub step_decay: f64,
    /// Weight of the distance to the target's hidden rows.
    pub hidden_weight: f64,
    /// Products are rounded to bfloat16.
    pub bfloat16: bool,

    /// The same seed gives the same drafter, on a CPU.
    pub seed: u64,
}

/// What steps beyond the first read in training.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unroll {
    /// The text: below a wrong guess nothing is ever looked at.
    Text,
    /// The drafter's own likeliest tokens, as published; the target's word on the text stays what is to be learnt.
    Guesses,
}

/// Parts that can be left out, to see what they are worth.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Ablation {
    /// A row sees its own token alone.
    pub no_trigram: bool,
    /// A row sees no other row.
    pub no_context: bool,
    /// Heads do not see the target's last hidden row.
    pub no_residual: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            form: Form::Lean,
            num_heads: 4,
            num_steps: 4,
            num_validation_steps: 4,
            unroll: Unroll::Text,
            ablation: Ablation::default(),
            trigram_size: None,
            intermediate_size: None,
            num_rows: 512,
            anchor_share: 0.25,
            accumulation: 8,
            num_epochs: 1.0,
            learning_rate: 1e-3,
            warm_up: 0.02,
            final_share: 0.02,
            weight_decay: 0.0,
            clip: 1.0,
            step_decay: 0.8,
            hidden_weight: 0.0,
            bfloat16: false,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// What the loss of each step weighs; together 1.
    pub fn step_weights(&self) -> Vec<f64> {
        let weights: Vec<f64> = (0..self.num_steps)
            .map(|step| self.step_decay.powi(step as i32))
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    /// The learning rate after a share of the run: a straight rise, then half a cosine.
    pub fn learning_rate_at(&self, done: f64) -> f64 {
        let share = if done < self.warm_up {
            done / self.warm_up
        } else {
            let rest = (done - self.warm_up) / (1.0 - self.warm_up).max(f64::EPSILON);
            let cosine = 0.5 + 0.5 * (std::f64::consts::PI * rest.min(1.0)).cos();
            self.final_share + (1.0 - self.final_share) * cosine
        };
        self.learning_rate * share
    }
}
