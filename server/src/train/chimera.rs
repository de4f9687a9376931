//! `foretoken train chimera`: texts in, a drafter out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use candle_core::DType;
use foretoken_draft::chimera::train::{Texts, Trainer, Update, Validation};
use foretoken_model::Token;
use indicatif::{ProgressBar, ProgressStyle};

use super::answers::answer;
use super::curves;
use super::journal::{Journal, Line};
use crate::config::{Precision, TrainChimeraConfig};
use crate::launch;
use crate::table::corpus::Corpus;
use crate::table::tokens::Tokens;

/// Trains, and says how it goes.
pub(super) fn train(config: &TrainChimeraConfig) -> Result<()> {
    let (checkpoint, log) = (config.output.join(CHECKPOINT), config.output.join(LOG));
    std::fs::create_dir_all(&config.output).with_context(|| config.output.display().to_string())?;
    if !config.resume && checkpoint.exists() {
        bail!(
            "{} is there already: --resume goes on from it",
            checkpoint.display()
        );
    }
    let mut trainer = trainer(config)?;
    let num_updates = match config.resume {
        true => (trainer.resume(&checkpoint)).with_context(|| checkpoint.display().to_string())?,
        false => 0,
    };
    let mut run = Run {
        config,
        journal: Journal::open(&log, num_updates)?,
        progress: progress(&trainer),
        last: None,
        learning: Duration::ZERO,
        num_tokens: 0,
    };
    if num_updates == 0 {
        run.validate(&mut trainer)?;
    }
    while trainer.done() < 1.0 {
        let update = run.update(&mut trainer)?;
        if update.is_multiple_of(config.validate_every as u64) {
            run.validate(&mut trainer)?;
            run.save(&trainer)?;
        }
    }
    run.validate(&mut trainer)?;
    run.save(&trainer)?;
    run.progress.finish_and_clear();
    curves::draw(&run.journal.lines, &config.output.join(CURVES))
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const ANSWERS: &str = "answers.jsonl";
const LOG: &str = "log.jsonl";
const CURVES: &str = "curves.svg";

/// A run while it lasts.
struct Run<'a> {
    config: &'a TrainChimeraConfig,
    journal: Journal,
    progress: ProgressBar,
    last: Option<Update>,
    /// Time that went into updates.
    learning: Duration,
    /// Tokens that they took.
    num_tokens: u64,
}

impl Run<'_> {
    fn update(&mut self, trainer: &mut Trainer) -> Result<u64> {
        let started = Instant::now();
        let before = trainer.num_tokens_done();
        let update = trainer.update()?;
        let time = started.elapsed();
        let num_tokens = update.tokens - before;
        self.learning += time;
        self.num_tokens += num_tokens;
        self.progress.set_position(update.tokens);
        self.progress
            .set_message(format!("loss {:.3}", update.loss));
        self.journal.write(Line::Update {
            tokens_per_second: num_tokens as f64 / time.as_secs_f64(),
            update: update.clone(),
        })?;
        let number = update.update;
        self.last = Some(update);
        Ok(number)
    }

    fn validate(&mut self, trainer: &mut Trainer) -> Result<()> {
        let validation = trainer.validate()?;
        let (update, tokens) = (trainer.num_updates(), trainer.num_tokens_done());
        let speed = self.num_tokens as f64 / self.learning.as_secs_f64().max(1e-9);
        let loss = match &self.last {
            Some(update) => format!("loss {:.3}", update.loss),
            None => "untrained".to_owned(),
        };
        self.progress.suspend(|| {
            println!(
                "{update:>6}  {tokens:>10} tokens  {speed:>6.0} tokens/s  {loss}  {}",
                describe(&validation)
            );
        });
        self.journal.write(Line::Validation {
            update,
            tokens,
            validation,
        })
    }

    fn save(&self, trainer: &Trainer) -> Result<()> {
        let dtype = match self.config.weights {
            Precision::Float32 => DType::F32,
            Precision::Bfloat16 => DType::BF16,
        };
        trainer.save(&self.config.output, dtype, self.config.draft_vocabulary)?;
        Ok(trainer.checkpoint(&self.config.output.join(CHECKPOINT))?)
    }
}

fn describe(validation: &Validation) -> String {
    let each = |value: fn(&foretoken_draft::chimera::train::StepAccuracy) -> f64| {
        let values = validation.steps.iter().map(value);
        let values: Vec<String> = values
            .map(|value| format!("{:.1}", 100.0 * value))
            .collect();
        values.join("/")
    };
    let losses: Vec<String> = validation
        .steps
        .iter()
        .map(|step| format!("{:.3}", step.loss))
        .collect();
    format!(
        "held out: loss {}  top-1 {}  top-3 {}  top-5 {}  acceptance {:.3} (sampled {:.3})",
        losses.join("/"),
        each(|step| step.top_1),
        each(|step| step.top_3),
        each(|step| step.top_5),
        validation.acceptance_length,
        validation.sampled_acceptance_length
    )
}

fn trainer(config: &TrainChimeraConfig) -> Result<Trainer> {
    let options = config.options();
    let data = match config.answers {
        Some(num_answers) => {
            let answers = config.output.join(ANSWERS);
            answer(config, num_answers, &answers)?;
            &vec![answers]
        }
        None => &config.data,
    };
    let (_, model) = launch::load(&config.engine)?;
    let mut texts = Texts::new(options.num_rows, options.num_steps);
    each_document(config, &config.eval_data, |text| texts.hold_out(text))?;
    each_document(config, data, |text| texts.push(text))?;
    eprintln!("{} tokens to learn from", texts.num_tokens());
    Ok(Trainer::new(model.llama, options, texts)?)
}

fn each_document(
    config: &TrainChimeraConfig,
    data: &[PathBuf],
    mut read: impl FnMut(&[Token]),
) -> Result<()> {
    let tokens = Tokens::open(config.engine.model.as_deref())?;
    let corpus = Corpus::open(data, &config.texts, tokens)?;
    corpus.each_document(0, |document| {
        read(document);
        Ok(())
    })
}

fn progress(trainer: &Trainer) -> ProgressBar {
    let style = "{bar:30} {percent}% {elapsed} {eta} left  {wide_msg}";
    let style = ProgressStyle::with_template(style);
    ProgressBar::new(trainer.num_tokens())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
