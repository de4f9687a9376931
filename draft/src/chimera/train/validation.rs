//! What a drafter is worth on held-out texts.

use candle_core::{Result, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::example::Example;
use super::network::Network;
use super::objective::Answers;
use super::teacher::Teacher;

/// How well a drafter guesses on held-out texts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Validation {
    /// By drafting step.
    pub steps: Vec<StepAccuracy>,
    /// Tokens per verify if each step drafts one token and the target takes its likeliest.
    pub acceptance_length: f64,
    /// The same if the target draws at temperature 1 and the draft is coupled with it as well as can be.
    pub sampled_acceptance_length: f64,
    /// Places that were looked at.
    pub num_anchors: usize,
}

/// How well one drafting step guesses.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StepAccuracy {
    /// Mean cross-entropy against the target's chances, in nats.
    pub loss: f64,
    /// How often the target's likeliest token is the likeliest guess.
    pub top_1: f64,
    /// How often it is among the three likeliest.
    pub top_3: f64,
    /// How often it is among the five likeliest.
    pub top_5: f64,
    /// Chance that both have in common.
    pub overlap: f64,
}

/// One anchor's guesses, all steps.
#[derive(Clone, Copy, Default)]
struct Guess {
    loss: f64,
    rank: usize,
    overlap: f64,
}

/// Looks at examples without learning from them.
pub(super) fn validate(
    network: &Network,
    teacher: &mut Teacher,
    examples: &[Example],
    num_steps: usize,
) -> Result<Validation> {
    let mut guesses: Vec<Vec<Guess>> = vec![Vec::new(); num_steps];
    for example in examples {
        let hidden = teacher.hidden(example)?;
        let answers = Answers::new(teacher, example, &hidden, num_steps)?;
        let scores = network.scores(example, &hidden, num_steps)?;
        for ((guesses, scores), index) in guesses.iter_mut().zip(scores).zip(&answers.index) {
            guesses.extend(compare(&scores, &answers.chances, index)?);
        }
    }
    Ok(summary(&guesses))
}

fn compare(scores: &Tensor, chances: &Tensor, index: &[u32]) -> Result<Vec<Guess>> {
    let (scores, chances) = (scores.to_vec2::<f32>()?, chances.to_vec2::<f32>()?);
    let guesses = scores.par_iter().zip(index);
    Ok(guesses
        .map(|(scores, &answer)| guess(scores, &chances[answer as usize]))
        .collect())
}

fn guess(scores: &[f32], chances: &[f32]) -> Guess {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
    let log_sum = most + sum.ln();
    let (mut loss, mut overlap) = (0.0, 0.0);
    for (score, chance) in scores.iter().zip(chances) {
        let log = score - log_sum;
        loss -= f64::from(chance * log);
        overlap += f64::from(log.exp().min(*chance));
    }
    let likeliest = (0..chances.len()).max_by(|&a, &b| chances[a].total_cmp(&chances[b]));
    let own = likeliest.map_or(0.0, |likeliest| scores[likeliest]);
    Guess {
        loss,
        rank: scores.iter().filter(|score| **score > own).count(),
        overlap,
    }
}

fn summary(guesses: &[Vec<Guess>]) -> Validation {
    let num_anchors = guesses.first().map_or(0, Vec::len);
    let mean = |sum: f64| sum / num_anchors.max(1) as f64;
    let steps = guesses.iter().map(|guesses| {
        let within = |most| mean(guesses.iter().filter(|guess| guess.rank < most).count() as f64);
        StepAccuracy {
            loss: mean(guesses.iter().map(|guess| guess.loss).sum()),
            top_1: within(1),
            top_3: within(3),
            top_5: within(5),
            overlap: mean(guesses.iter().map(|guess| guess.overlap).sum()),
        }
    });
    let (mut right, mut coupled) = (0.0, 0.0);
    for anchor in 0..num_anchors {
        let branch = || guesses.iter().map(|guesses| guesses[anchor]);
        right += branch().take_while(|guess| guess.rank == 0).count() as f64;
        let mut chance = 1.0;
        for guess in branch() {
            chance *= guess.overlap;
            coupled += chance;
        }
    }
    Validation {
        steps: steps.collect(),
        acceptance_length: 1.0 + mean(right),
        sampled_acceptance_length: 1.0 + mean(coupled),
        num_anchors,
    }
}
