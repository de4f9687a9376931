//! The training run: examples in, updates out.

use std::path::Path;

use candle_core::{D, DType, Result, Tensor, bail};
use foretoken_model::Llama;
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Place};
use super::example::Example;
use super::network::Network;
use super::objective::{Answers, distance, objective};
use super::optimizer::{AdamW, Gradients, clip};
use super::options::{TrainOptions, Unroll};
use super::teacher::Teacher;
use super::texts::{Texts, random};
use super::validation::{Validation, validate};
use crate::chimera::ChimeraConfig;

/// A drafter in training.
#[derive(Debug)]
pub struct Trainer {
    options: TrainOptions,
    teacher: Teacher,
    network: Network,
    optimizer: AdamW,
    texts: Texts,
    held_out: Vec<Example>,
    place: Place,
    /// This pass's examples.
    pass: Vec<Vec<usize>>,
}

/// What one update did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Update {
    /// Updates so far, this one included.
    pub update: u64,
    /// Tokens of text so far.
    pub tokens: u64,
    /// Cross-entropy against the target's chances in nats, steps weighted.
    pub loss: f64,
    /// The same by step, not weighted.
    pub losses: Vec<f64>,
    /// What this update was scaled by.
    pub learning_rate: f64,
    /// Length of the gradient before it was cut.
    pub gradient: f64,
}

/// Examples that validation looks at, at most.
const VALIDATION: usize = 48;

impl Trainer {
    /// Begins a run.
    pub fn new(llama: Llama, options: TrainOptions, mut texts: Texts) -> Result<Self> {
        if !texts.finish() {
            bail!("too little text: two texts of some tokens are the least");
        }
        if options.num_rows > llama.num_positions() {
            bail!(
                "{} rows, but the target has {} positions",
                options.num_rows,
                llama.num_positions()
            );
        }
        let target = llama.config();
        let mut config =
            ChimeraConfig::of_target(target, llama.fingerprint(), options.form, options.num_heads);
        config.trigram_size = options.trigram_size.unwrap_or(config.trigram_size);
        config.intermediate_size = options
            .intermediate_size
            .unwrap_or(config.intermediate_size);
        config
            .check(target, llama.fingerprint())
            .map_err(candle_core::Error::wrap)?;
        let network = Network::new(&llama, config, &options)?;
        Ok(Self {
            teacher: Teacher::new(llama, network.lm_head.clone(), options.num_rows)?,
            held_out: texts.validation(
                options.num_validation_steps,
                options.anchor_share,
                VALIDATION,
            ),
            pass: texts.pass(options.seed, 0),
            optimizer: AdamW::default(),
            place: Place::default(),
            options,
            network,
            texts,
        })
    }

    /// Share of the run that is done.
    pub fn done(&self) -> f64 {
        let whole = self.texts.num_tokens() as f64 * self.options.num_epochs;
        self.place.num_tokens as f64 / whole
    }

    /// Tokens of the whole run.
    pub fn num_tokens(&self) -> u64 {
        (self.texts.num_tokens() as f64 * self.options.num_epochs) as u64
    }

    /// Tokens that were learnt from so far.
    pub fn num_tokens_done(&self) -> u64 {
        self.place.num_tokens
    }

    /// Updates so far.
    pub fn num_updates(&self) -> u64 {
        self.optimizer.num_updates
    }

    /// Learns from the next examples.
    pub fn update(&mut self) -> Result<Update> {
        let mut gradients = Gradients::new();
        let mut losses = vec![0.0; self.options.num_steps];
        let mut loss = 0.0;
        let learning_rate = self.options.learning_rate_at(self.done());
        let share = 1.0 / self.options.accumulation as f64;
        for _ in 0..self.options.accumulation {
            let example = self.next_example();
            let (step_losses, step_loss) = self.learn(&example, share, &mut gradients)?;
            for (sum, loss) in losses.iter_mut().zip(step_losses) {
                *sum += loss * share;
            }
            loss += step_loss * share;
        }
        let gradient = clip(&mut gradients, self.options.clip)?;
        self.optimizer.update(
            self.network.parameters.trained(),
            &gradients,
            learning_rate,
            self.options.weight_decay,
        )?;
        Ok(Update {
            update: self.optimizer.num_updates,
            tokens: self.place.num_tokens,
            loss,
            losses,
            learning_rate,
            gradient,
        })
    }

    fn next_example(&mut self) -> Example {
        if self.place.index as usize == self.pass.len() {
            self.place.pass += 1;
            self.place.index = 0;
            self.pass = self.texts.pass(self.options.seed, self.place.pass);
        }
        let Place { pass, index, .. } = self.place;
        let random = &mut random(self.options.seed, pass, index);
        let texts = &self.pass[index as usize];
        let example = self.texts.example(texts, self.options.anchor_share, random);
        self.place.index += 1;
        self.place.num_tokens += example.tokens().len() as u64;
        example
    }

    /// Adds an example's gradients, and says its losses by step and together.
    fn learn(
        &mut self,
        example: &Example,
        share: f64,
        gradients: &mut Gradients,
    ) -> Result<(Vec<f64>, f64)> {
        let num_steps = self.options.num_steps;
        let weights = self.options.step_weights();
        let hidden = self.teacher.hidden(example)?;
        let answers = Answers::new(&self.teacher, example, &hidden, num_steps)?;
        let branches = match self.options.unroll {
            Unroll::Text => example.branches(num_steps),
            Unroll::Guesses => self.guesses(example, &hidden)?,
        };
        let drafts = self
            .network
            .forward(example, &hidden, &branches, num_steps)?;
        let objective = objective(&self.network, &drafts, &answers, &weights)?;
        let (mut surrogate, mut loss) = (objective.surrogate, objective.loss);
        if self.options.hidden_weight > 0.0 {
            let distance = distance(&drafts, &hidden, &answers, &weights)?;
            let distance = (distance * self.options.hidden_weight)?;
            loss += f64::from(distance.to_scalar::<f32>()?);
            surrogate = (surrogate + distance)?;
        }
        let mut found = (surrogate * share)?.backward()?;
        for (name, weight) in self.network.parameters.trained() {
            let Some(gradient) = found.remove(weight) else {
                continue;
            };
            let sum = match gradients.remove(name) {
                Some(sum) => (sum + gradient)?,
                None => gradient,
            };
            gradients.insert(name.to_owned(), sum);
        }
        Ok((objective.losses, loss))
    }

    /// The drafter's own likeliest branches. `[anchors, steps]`
    fn guesses(&self, example: &Example, hidden: &Tensor) -> Result<Vec<u32>> {
        let num_steps = self.options.num_steps;
        let mut branches = example.branches(num_steps);
        for step in 1..num_steps {
            let drafts = self
                .network
                .forward(example, hidden, &branches, num_steps)?;
            let (inputs, head) = self.network.head_inputs(&drafts, step - 1);
            let scores = inputs.detach().matmul(&head.detach().t()?)?;
            let guesses: Vec<u32> = scores.argmax(D::Minus1)?.to_vec1()?;
            for (branch, guess) in branches.chunks_exact_mut(num_steps).zip(guesses) {
                branch[step] = guess;
            }
        }
        Ok(branches)
    }

    /// Looks at what was held out.
    pub fn validate(&mut self) -> Result<Validation> {
        validate(
            &self.network,
            &mut self.teacher,
            &self.held_out,
            self.options.num_validation_steps,
        )
    }

    /// Writes the run's state.
    pub fn checkpoint(&self, path: &Path) -> Result<()> {
        checkpoint::save(
            path,
            &self.options,
            &self.network.parameters,
            &self.optimizer,
            self.place,
        )
    }

    /// Goes on where a checkpoint was written.
    pub fn resume(&mut self, path: &Path) -> Result<u64> {
        self.place = checkpoint::load(
            path,
            &self.options,
            &self.network.parameters,
            &mut self.optimizer,
        )?;
        self.pass = self.texts.pass(self.options.seed, self.place.pass);
        Ok(self.optimizer.num_updates)
    }

    /// Writes the drafter as it is now into a folder: [`Network::save`]. Of the texts' commonest tokens it drafts
    /// `num_draft_tokens` at most.
    pub fn save(&self, folder: &Path, dtype: DType, num_draft_tokens: Option<usize>) -> Result<()> {
        let draft_vocab = num_draft_tokens.map(|most| self.texts.commonest(most));
        self.network.save(folder, dtype, draft_vocab.as_deref())
    }
}

#[cfg(test)]
mod tests;
