//! In float32, logits equal those of candle-transformers' own Llama.

use crate::common::{Random, Runner, demo, load, stories, tiny_config, write_tiny};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use foretoken_model::{Dtype, ModelSource, Token};
use serde_json::json;

/// The oracle's logits after each token, in float32.
fn oracle(source: &ModelSource, tokens: &[Token]) -> Vec<Vec<f32>> {
    let ModelSource::Directory(directory) = source else {
        unreachable!("tests read folders")
    };
    let json = std::fs::read(directory.join("config.json")).unwrap();
    let config = serde_json::from_slice::<LlamaConfig>(&json)
        .unwrap()
        .into_config(false);
    let mut tensors = std::collections::HashMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            tensors.extend(candle_core::safetensors::load(path, &Device::Cpu).unwrap());
        }
    }
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let llama = Llama::load(weights, &config).unwrap();
    let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
    let step = |(position, &token): (usize, &Token)| {
        let input = Tensor::new(&[[token]], &Device::Cpu).unwrap();
        let logits = llama.forward(&input, position, &mut cache).unwrap();
        logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    tokens.iter().enumerate().map(step).collect()
}

/// max|a - b| / max|b| over all rows.
fn distance(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = || a.iter().flatten().zip(b.iter().flatten());
    let error = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    error / pairs().map(|(_, b)| b.abs()).fold(0.0, f32::max)
}

fn check(name: &str, source: &ModelSource, num_tokens: usize) {
    let model = load(source, Dtype::Float32);
    let mut random = Random(7);
    let tokens: Vec<Token> = (0..num_tokens)
        .map(|_| random.below(model.llama.config().vocab_size) as Token)
        .collect();
    let ours = Runner::new(&model, 256).one_by_one(&tokens);
    let distance = distance(&ours, &oracle(source, &tokens));
    assert!(distance <= 1e-4, "{name}: {distance}");
}

#[test]
fn the_carried_model_and_a_published_one_give_the_oracles_logits() {
    check("demo", &demo(), 100);
    check("stories260K", &stories(), 200);
}

#[test]
fn random_checkpoints_of_every_shape_give_the_oracles_logits() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32});
    let cases = [
        ("grouped heads", json!({}), 1, DType::F32),
        (
            "as many heads of keys as of queries",
            json!({"num_key_value_heads": 4}),
            1,
            DType::F32,
        ),
        (
            "one head of keys",
            json!({"num_key_value_heads": 1}),
            1,
            DType::F32,
        ),
        ("tied", json!({"tie_word_embeddings": true}), 1, DType::F32),
        ("three shards", json!({}), 3, DType::F32),
        (
            "llama3 rope",
            json!({"rope_scaling": llama3}),
            1,
            DType::F32,
        ),
        ("stored in float16", json!({}), 2, DType::F16),
        (
            "stored in bfloat16",
            json!({"tie_word_embeddings": true}),
            2,
            DType::BF16,
        ),
    ];
    for (name, changes, num_shards, dtype) in cases {
        let directory = tempfile::tempdir().unwrap();
        let source = write_tiny(directory.path(), &tiny_config(&changes), num_shards, dtype);
        check(name, &source, 120);
    }
}

#[test]
fn greedy_text_of_stories260k_is_the_published_one() {
    let model = load(&stories(), Dtype::Float32);
    let mut runner = Runner::new(&model, 256);
    let table = runner.table(200);
    let mut tokens = vec![1];
    for at in 0..160 {
        let logits = runner
            .forward(&[crate::common::committed(&table, &tokens, at, at + 1)])
            .remove(0);
        let best = (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap();
        tokens.push(best as Token);
    }
    let text = model.tokenizer.decode(&tokens, true).unwrap();
    let published = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. \
        One day, she saw a big, red ball. She wanted to play with it, but it was too high.";
    assert!(text.trim_start().starts_with(published), "{text}");
}
