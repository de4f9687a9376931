//! What a model's folder may lack or get wrong, and what is then said.

use std::path::Path;

use crate::common::{shapes, stories, tiny_config, write_tiny};
use candle_core::{DType, Device, Tensor};
use foretoken_model::{LoadOptions, LoadedModel, ModelSource};
use serde_json::{Value, json};

fn refusal(directory: &Path) -> String {
    let source = ModelSource::Directory(directory.into());
    LoadedModel::load(&source, LoadOptions::default(), &Device::Cpu)
        .unwrap_err()
        .to_string()
}

/// The tensors of a tiny model, changed, in place of its own.
fn with_tensors(changes: impl FnOnce(&mut std::collections::HashMap<String, Tensor>)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let config = tiny_config(&json!({}));
    write_tiny(directory.path(), &config, 1, DType::F32);
    let file = directory.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    changes(&mut tensors);
    candle_core::safetensors::save(&tensors, &file).unwrap();
    refusal(directory.path())
}

#[test]
fn a_missing_file_is_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let directory = tempfile::tempdir().unwrap();
        write_tiny(directory.path(), &tiny_config(&json!({})), 1, DType::F32);
        std::fs::remove_file(directory.path().join(file)).unwrap();
        let error = refusal(directory.path());
        assert!(
            error.starts_with(&format!("{file}: not found in ")),
            "{error}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    write_tiny(directory.path(), &tiny_config(&json!({})), 3, DType::F32);
    std::fs::remove_file(directory.path().join("model-00002-of-00003.safetensors")).unwrap();
    assert!(
        refusal(directory.path()).starts_with("model-00002-of-00003.safetensors: not found in ")
    );
    assert!(refusal(Path::new("/no/such/folder")).contains("/no/such/folder"));
}

#[test]
fn a_broken_file_is_named() {
    for file in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "generation_config.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
    ] {
        let directory = tempfile::tempdir().unwrap();
        write_tiny(directory.path(), &tiny_config(&json!({})), 1, DType::F32);
        std::fs::write(directory.path().join(file), b"{\"but\": ").unwrap();
        let error = refusal(directory.path());
        assert!(error.starts_with(&format!("{file}: ")), "{file}: {error}");
    }
    let directory = tempfile::tempdir().unwrap();
    write_tiny(directory.path(), &tiny_config(&json!({})), 1, DType::F32);
    let index = json!({"weight_map": {"model.norm.weight": "../../elsewhere.safetensors"}});
    std::fs::write(
        directory.path().join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    assert!(refusal(directory.path()).contains("names `../../elsewhere.safetensors`"));
}

#[test]
fn a_tensor_that_is_missing_misshapen_or_surplus_is_named() {
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    assert_eq!(
        with_tensors(|tensors| _ = tensors.remove(name)),
        format!("tensor `{name}` is missing, expected [88, 48]")
    );
    assert_eq!(
        with_tensors(|tensors| _ = tensors.insert(name.into(), zeros(&[48, 88], DType::F32))),
        format!("tensor `{name}` is [48, 88], expected [88, 48]")
    );
    assert_eq!(
        with_tensors(|tensors| _ = tensors.insert(name.into(), zeros(&[88, 48], DType::I64))),
        format!("tensor `{name}` is I64, expected F32, F16 or BF16")
    );
    let surplus = "model.layers.1.self_attn.q_proj.bias";
    assert!(
        with_tensors(|tensors| _ = tensors.insert(surplus.into(), zeros(&[48], DType::F32)))
            .contains(surplus)
    );
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let cases: [(Value, &str); 4] = [
        (json!({"vocab_size": 96}), "is [97, 48], expected [96, 48]"),
        (
            json!({"num_key_value_heads": 4}),
            "k_proj.weight` is [24, 48], expected [48, 48]",
        ),
        (json!({"num_hidden_layers": 4}), "tensor `model.layers.3."),
        (json!({"num_hidden_layers": 2}), "tensor `model.layers.2."),
    ];
    for (changes, problem) in cases {
        let directory = tempfile::tempdir().unwrap();
        write_tiny(directory.path(), &tiny_config(&json!({})), 1, DType::F32);
        std::fs::write(
            directory.path().join("config.json"),
            tiny_config(&changes).to_string(),
        )
        .unwrap();
        let error = refusal(directory.path());
        assert!(error.contains(problem), "{changes}: {error}");
    }
}

#[test]
fn a_context_longer_than_the_models_is_refused() {
    let error = LoadedModel::load(
        &stories(),
        LoadOptions {
            max_model_len: Some(513),
            ..LoadOptions::default()
        },
        &Device::Cpu,
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("512") && error.contains("513"), "{error}");
    let model = LoadedModel::load(
        &stories(),
        LoadOptions {
            max_model_len: Some(100),
            ..LoadOptions::default()
        },
        &Device::Cpu,
    )
    .unwrap();
    assert_eq!(model.max_model_len, 100);
}

#[test]
fn the_carried_model_is_what_its_folder_holds() {
    let carried = ModelSource::demo();
    let folder = crate::common::demo();
    let names = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    for name in names {
        assert!(
            carried.read(name).unwrap()[..] == folder.read(name).unwrap()[..],
            "{name}"
        );
    }
    let model = LoadedModel::load(&carried, LoadOptions::default(), &Device::Cpu).unwrap();
    assert!(model.chat_template.is_some());
    assert!(!model.eos_token_ids.is_empty());
}

#[test]
fn end_of_sequence_tokens_may_be_one_or_many_in_either_file() {
    let cases = [
        (json!({"eos_token_id": 5}), None, vec![5]),
        (json!({"eos_token_id": [5, 6]}), None, vec![5, 6]),
        (
            json!({"eos_token_id": 5}),
            Some(json!({"eos_token_id": [7, 8]})),
            vec![7, 8],
        ),
        (
            json!({"eos_token_id": 5}),
            Some(json!({"temperature": 0.3})),
            vec![5],
        ),
    ];
    for (changes, generation, want) in cases {
        let directory = tempfile::tempdir().unwrap();
        let source = write_tiny(directory.path(), &tiny_config(&changes), 1, DType::F32);
        if let Some(generation) = &generation {
            std::fs::write(
                directory.path().join("generation_config.json"),
                generation.to_string(),
            )
            .unwrap();
        }
        let model = LoadedModel::load(&source, LoadOptions::default(), &Device::Cpu).unwrap();
        assert_eq!(model.eos_token_ids, want);
    }
    assert!(
        shapes(&tiny_config(&json!({"tie_word_embeddings": true}))).len()
            < shapes(&tiny_config(&json!({}))).len()
    );
}
