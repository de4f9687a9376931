//! The trainer on a tiny target.

use candle_core::{Device, Var};
use foretoken_model::{LoadOptions, LoadedModel, ModelSource, Token};
use tempfile::tempdir;

use super::*;
use crate::chimera::Form;
use crate::chimera::train::Ablation;

/// A target of 260,000 parameters.
fn target() -> LoadedModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/stories260K");
    let source = ModelSource::Directory(folder);
    LoadedModel::load(&source, LoadOptions::default(), &Device::Cpu).unwrap()
}

fn trainer(options: &TrainOptions) -> Trainer {
    let target = target();
    let mut texts = Texts::new(options.num_rows, options.num_steps);
    for name in ["Tom", "Lily", "Max", "Sue", "Ben"] {
        let text = format!(
            "Once upon a time, there was a child named {name}. {name} liked to play in the park. \
             One day, {name} saw a big dog. The dog was very happy and wanted to play."
        );
        let tokens: Vec<Token> = target.tokenizer.encode(&text, true).unwrap();
        texts.push(&tokens);
    }
    Trainer::new(target.llama, options.clone(), texts).unwrap()
}

fn small() -> TrainOptions {
    TrainOptions {
        num_heads: 2,
        num_steps: 3,
        num_validation_steps: 4,
        num_rows: 96,
        accumulation: 2,
        num_epochs: 3.0,
        ..TrainOptions::default()
    }
}

#[test]
fn gradients_are_those_of_the_loss() {
    for form in [Form::Lean, Form::Faithful] {
        let mut trainer = trainer(&TrainOptions {
            form,
            hidden_weight: 0.1,
            ..small()
        });
        trainer.network.parameters.randomise(1).unwrap();
        let example = trainer.next_example();
        let mut gradients = Gradients::new();
        trainer.learn(&example, 1.0, &mut gradients).unwrap();
        let weights: Vec<(String, Var)> = trainer
            .network
            .parameters
            .trained()
            .map(|(name, weight)| (name.to_owned(), weight.clone()))
            .collect();
        for (name, weight) in weights {
            let found = slope(&mut trainer, &example, &weight, &gradients[&name]);
            let gradient = &gradients[&name];
            let expected: f32 = gradient
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar()
                .unwrap();
            let expected = f64::from(expected).sqrt();
            assert!(
                (found - expected).abs() < 0.01 * expected + 1e-4,
                "{form:?} {name}: the loss rises by {found}, expected {expected}"
            );
        }
    }
}

/// How the loss rises along a gradient, by a finite difference.
fn slope(trainer: &mut Trainer, example: &Example, weight: &Var, gradient: &Tensor) -> f64 {
    let start = weight.as_detached_tensor().copy().unwrap();
    let length: f32 = gradient
        .sqr()
        .unwrap()
        .sum_all()
        .unwrap()
        .to_scalar()
        .unwrap();
    let along = (gradient / f64::from(length).sqrt().max(1e-12)).unwrap();
    // Far enough for the rounding of float32, near enough for the curve.
    let most: f32 = start.sqr().unwrap().sum_all().unwrap().to_scalar().unwrap();
    let reach = 0.002 * f64::from(most).sqrt();
    let mut at = |distance: f64| {
        weight
            .set(&(&start + (&along * distance).unwrap()).unwrap())
            .unwrap();
        trainer
            .learn(example, 1.0, &mut Gradients::new())
            .unwrap()
            .1
    };
    let rise = (at(reach) - at(-reach)) / (2.0 * reach);
    weight.set(&start).unwrap();
    rise
}

#[test]
fn a_resumed_run_is_the_run_that_was_not_interrupted() {
    for unroll in [Unroll::Text, Unroll::Guesses] {
        let options = TrainOptions { unroll, ..small() };
        let folder = tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut whole = trainer(&options);
        let mut half = trainer(&options);
        let mut updates = 0;
        while whole.done() < 1.0 {
            whole.update().unwrap();
            updates += 1;
            if updates == 2 {
                half.update().unwrap();
                half.update().unwrap();
                half.checkpoint(&path).unwrap();
            }
        }
        assert!(updates > 3, "{updates} updates");
        let mut resumed = trainer(&options);
        assert_eq!(resumed.resume(&path).unwrap(), 2);
        while resumed.done() < 1.0 {
            resumed.update().unwrap();
        }
        assert_eq!(weights(&resumed), weights(&whole));
        assert_ne!(weights(&half), weights(&whole));
    }
}

fn weights(trainer: &Trainer) -> Vec<(String, Vec<f32>)> {
    let values = |weight: &Var| weight.flatten_all().unwrap().to_vec1().unwrap();
    let all = trainer.network.parameters.all();
    all.map(|(name, weight)| (name.to_owned(), values(weight)))
        .collect()
}

#[test]
fn other_options_do_not_go_on() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    trainer(&small()).checkpoint(&path).unwrap();
    let other = TrainOptions { seed: 1, ..small() };
    let error = trainer(&other).resume(&path).unwrap_err().to_string();
    assert!(error.contains("other options"), "{error}");
}

#[test]
fn training_teaches() {
    let mut trainer = trainer(&TrainOptions {
        num_epochs: 60.0,
        learning_rate: 3e-3,
        ..small()
    });
    let before = trainer.validate().unwrap();
    while trainer.done() < 1.0 {
        trainer.update().unwrap();
    }
    let after = trainer.validate().unwrap();
    assert_eq!(after.steps.len(), 4);
    assert!(
        after.acceptance_length > before.acceptance_length + 0.5,
        "{before:?} {after:?}"
    );
}

#[test]
fn what_is_saved_scores_as_what_was_trained_whatever_was_left_out() {
    let (text, anchors): (Vec<Token>, _) = ((10..40).collect(), 5..20);
    let mut example = Example::default();
    example.push(&text, anchors);
    for (no_trigram, no_context, no_residual) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (false, false, true),
    ] {
        let ablation = Ablation {
            no_trigram,
            no_context,
            no_residual,
        };
        let mut trainer = trainer(&TrainOptions {
            ablation,
            ..small()
        });
        trainer.update().unwrap();
        trainer.update().unwrap();
        let folder = tempdir().unwrap();
        trainer.save(folder.path(), DType::F32, None).unwrap();
        let saved = Network::open(&target().llama, folder.path()).unwrap();
        let hidden = trainer.teacher.hidden(&example).unwrap();
        let scores = trainer.network.scores(&example, &hidden, 3).unwrap();
        let saved = saved.scores(&example, &hidden, 3).unwrap();
        for (a, b) in scores.iter().zip(saved) {
            let apart = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            assert!(apart.to_scalar::<f32>().unwrap() < 1e-4, "{ablation:?}");
        }
    }
}

#[test]
fn places_in_a_run_have_random_numbers_of_their_own() {
    use rand::Rng;
    let draw = |seed, pass, index| random(seed, pass, index).random::<u64>();
    assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
    assert_ne!(draw(1, 2, 3), draw(1, 3, 2));
}

#[test]
fn texts_are_held_out_by_name_or_one_in_a_hundred() {
    let held_out = |named: bool| {
        let mut texts = Texts::new(64, 2);
        if named {
            texts.hold_out(&[9; 40]);
        }
        (0..200).for_each(|token| texts.push(&[token; 40]));
        let examples = texts.validation(2, 0.5, 100);
        let mut tokens = Vec::from_iter(examples.iter().map(|example| example.tokens()[0]));
        tokens.sort_unstable();
        (tokens, texts.num_tokens())
    };
    assert_eq!(held_out(false), (vec![50, 150], 198 * 40));
    assert_eq!(held_out(true), (vec![9], 200 * 40));
}

#[test]
fn the_commonest_tokens_are_those_that_are_learnt_from() {
    let mut texts = Texts::new(64, 2);
    texts.hold_out(&[3; 40]);
    texts.push(&[[7; 20], [5; 20]].concat());
    texts.push(&[[2; 19], [7; 19]].concat());
    assert_eq!(texts.commonest(2), [5, 7]);
    assert_eq!(texts.commonest(9), [2, 5, 7]);
}

#[cfg(unix)]
#[test]
fn whoever_may_read_other_new_files_may_read_these() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let mode = |name: &str| {
        let file = std::fs::metadata(folder.path().join(name)).unwrap();
        file.permissions().mode()
    };
    let trainer = trainer(&small());
    trainer.save(folder.path(), DType::F32, None).unwrap();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    trainer.checkpoint(&checkpoint).unwrap();
    std::fs::write(folder.path().join("other"), "").unwrap();
    for name in ["config.json", "model.safetensors", "checkpoint.safetensors"] {
        assert_eq!(mode(name), mode("other"), "{name}");
    }
}
