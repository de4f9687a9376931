//! What training makes small: the cross-entropy against the target's own chances, step by step.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::example::Example;
use super::network::{Drafts, Network};
use super::scores::cross_entropy;
use super::teacher::Teacher;
use crate::chimera::Form;

/// The target's word on every row that is drafted.
pub(super) struct Answers {
    /// Rows that some step has to guess. `[answers]`
    pub(super) rows: Tensor,
    /// Their chances. `[answers, vocab]`
    pub(super) chances: Tensor,
    /// Each step's anchors' answers, as numbers into `rows`. `[steps][anchors]`
    pub(super) index: Vec<Vec<u32>>,
}

impl Answers {
    pub(super) fn new(
        teacher: &Teacher,
        example: &Example,
        hidden: &Tensor,
        num_steps: usize,
    ) -> Result<Self> {
        let mut numbers = BTreeMap::new();
        for anchor in example.anchors() {
            for step in 0..num_steps {
                numbers.insert(anchor.row + 1 + step, 0);
            }
        }
        for (index, number) in numbers.values_mut().enumerate() {
            *number = index as u32;
        }
        let rows: Vec<u32> = numbers.keys().map(|&row| row as u32).collect();
        let rows = Tensor::new(rows, hidden.device())?;
        let number = |step: usize| {
            let anchors = example.anchors().iter();
            anchors
                .map(|anchor| numbers[&(anchor.row + 1 + step)])
                .collect()
        };
        Ok(Self {
            chances: teacher.chances(&hidden.index_select(&rows, 0)?)?,
            index: (0..num_steps).map(number).collect(),
            rows,
        })
    }
}

/// The loss, and something that has its gradients.
pub(super) struct Objective {
    /// Mean cross-entropy by step, in nats.
    pub(super) losses: Vec<f64>,
    /// What all weights together make small.
    pub(super) loss: f64,
    /// A sum whose gradients by the weights are the loss's. Its value says nothing.
    pub(super) surrogate: Tensor,
}

/// Compares drafts with the target's chances.
///
/// Scores over the vocabulary are the bulk of the work, so their gradient is formed where they lie, and enters the
/// graph as a factor: the gradient of `sum(x * g)` by x is g.
pub(super) fn objective(
    network: &Network,
    drafts: &Drafts,
    answers: &Answers,
    step_weights: &[f64],
) -> Result<Objective> {
    let mut losses = Vec::new();
    let mut loss = 0.0;
    let mut terms = Vec::new();
    for (step, (index, step_weight)) in answers.index.iter().zip(step_weights).enumerate() {
        let (inputs, head) = network.head_inputs(drafts, step);
        let weights = vec![(step_weight / index.len() as f64) as f32; index.len()];
        let scores = inputs.detach().matmul(&head.detach().t()?)?;
        let errors = cross_entropy(scores, &answers.chances, index, &weights)?;
        let by_input = errors.gradient.matmul(&head.detach())?;
        terms.push((inputs * by_input)?.sum_all()?);
        if network.config.form == Form::Faithful {
            let by_head = errors.gradient.t()?.matmul(&inputs.detach())?;
            terms.push((head * by_head)?.sum_all()?);
        }
        let sum: f64 = errors.losses.iter().map(|&loss| f64::from(loss)).sum();
        let mean = sum / index.len() as f64;
        loss += step_weight * mean;
        losses.push(mean);
    }
    Ok(Objective {
        losses,
        loss,
        surrogate: Tensor::stack(&terms, 0)?.sum_all()?,
    })
}

/// Mean square distance of the estimates to the target's hidden rows, weighted by step.
pub(super) fn distance(
    drafts: &Drafts,
    hidden: &Tensor,
    answers: &Answers,
    step_weights: &[f64],
) -> Result<Tensor> {
    let rows = hidden.index_select(&answers.rows, 0)?;
    let mut terms = Vec::new();
    for ((estimate, index), weight) in drafts
        .estimates
        .iter()
        .zip(&answers.index)
        .zip(step_weights)
    {
        let rows = rows.index_select(&Tensor::new(index.as_slice(), rows.device())?, 0)?;
        terms.push(((estimate - rows)?.sqr()?.mean_all()? * *weight)?);
    }
    Tensor::stack(&terms, 0)?.sum_all()
}
