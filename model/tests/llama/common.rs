//! Small models and a way to run them, for the tests of this crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use foretoken_model::{
    Activations, Batch, BlockPool, BlockTable, Dtype, KvCache, LoadOptions, LoadedModel,
    ModelSource, SequenceRows, Token,
};
use serde_json::{Value, json};

/// A TinyStories model that somebody else trained.
pub(crate) fn stories() -> ModelSource {
    ModelSource::Directory(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories260K").into())
}

/// The carried model, from its folder.
pub(crate) fn demo() -> ModelSource {
    ModelSource::Directory(concat!(env!("CARGO_MANIFEST_DIR"), "/demo").into())
}

pub(crate) fn load(source: &ModelSource, dtype: Dtype) -> LoadedModel {
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    load_with(source, options)
}

pub(crate) fn load_with(source: &ModelSource, options: LoadOptions) -> LoadedModel {
    LoadedModel::load(source, options, &Device::Cpu).expect("the model loads")
}

/// A number sequence that is the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In [-1, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
}

/// A small model's `config.json`, with changes.
pub(crate) fn tiny_config(changes: &Value) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 88,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 97,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "eos_token_id": 1
    });
    for (field, value) in changes.as_object().expect("an object") {
        config[field] = value.clone();
    }
    config
}

/// Shapes of all tensors that a config asks for.
pub(crate) fn shapes(config: &Value) -> BTreeMap<String, Vec<usize>> {
    let size = |field: &str| config[field].as_u64().expect("a number") as usize;
    let (hidden, intermediate, vocab) = (
        size("hidden_size"),
        size("intermediate_size"),
        size("vocab_size"),
    );
    let head_dim = hidden / size("num_attention_heads");
    let kv = size("num_key_value_heads") * head_dim;
    let mut shapes = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ]);
    if config["tie_word_embeddings"] == json!(false) {
        shapes.insert("lm_head.weight".to_owned(), vec![vocab, hidden]);
    }
    for layer in 0..size("num_hidden_layers") {
        for (name, shape) in [
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![intermediate, hidden]),
            ("mlp.up_proj", vec![intermediate, hidden]),
            ("mlp.down_proj", vec![hidden, intermediate]),
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
        ] {
            shapes.insert(format!("model.layers.{layer}.{name}.weight"), shape);
        }
    }
    shapes
}

/// Writes a random model into `directory`, its tensors dealt out to `num_shards` files.
pub(crate) fn write_tiny(
    directory: &Path,
    config: &Value,
    num_shards: usize,
    dtype: DType,
) -> ModelSource {
    let mut random = Random(42);
    let mut shards = vec![std::collections::HashMap::new(); num_shards];
    let mut weight_map = BTreeMap::new();
    let file = |shard: usize| match num_shards {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{num_shards:05}.safetensors", shard + 1),
    };
    for (index, (name, shape)) in shapes(config).into_iter().enumerate() {
        let scale = if shape.len() == 1 {
            0.5
        } else {
            2.0 / (shape[1] as f32).sqrt()
        };
        let offset = if shape.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| random.unit() * scale + offset)
            .collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)
            .expect("a tensor")
            .to_dtype(dtype)
            .expect("cast");
        weight_map.insert(name.clone(), file(index % num_shards));
        shards[index % num_shards].insert(name, tensor);
    }
    for (index, tensors) in shards.iter().enumerate() {
        candle_core::safetensors::save(tensors, directory.join(file(index))).expect("saved");
    }
    let write = |name: &str, contents: Value| {
        std::fs::write(directory.join(name), contents.to_string()).expect("written");
    };
    if num_shards > 1 {
        write(
            "model.safetensors.index.json",
            json!({ "weight_map": weight_map }),
        );
    }
    write("config.json", config.clone());
    let stories = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories260K/tokenizer.json");
    std::fs::copy(stories, directory.join("tokenizer.json")).expect("copied");
    ModelSource::Directory(PathBuf::from(directory))
}

/// A model with a cache, for tests that drive the forward by hand.
pub(crate) struct Runner<'a> {
    pub(crate) model: &'a LoadedModel,
    pub(crate) cache: KvCache,
    activations: Activations,
    pub(crate) pool: BlockPool,
}

impl<'a> Runner<'a> {
    /// Small blocks, so that every sequence has several.
    pub(crate) const BLOCK_SIZE: usize = 8;

    pub(crate) fn new(model: &'a LoadedModel, num_slots: usize) -> Self {
        let pool = BlockPool::new(num_slots / Self::BLOCK_SIZE, Self::BLOCK_SIZE);
        let cache = KvCache::new(model.llama.kv_shape(), num_slots, &Device::Cpu).expect("a cache");
        Self {
            model,
            cache,
            activations: model.llama.activations(),
            pool,
        }
    }

    pub(crate) fn table(&mut self, num_slots: usize) -> BlockTable {
        let mut table = BlockTable::default();
        assert!(
            self.pool.grow(&mut table, num_slots),
            "the test's cache is too small"
        );
        table
    }

    pub(crate) fn forward(&mut self, sequences: &[SequenceRows<'_>]) -> Vec<Vec<f32>> {
        let mut batch = Batch::new(Self::BLOCK_SIZE);
        for &rows in sequences {
            batch.push(rows);
        }
        let output = self
            .model
            .llama
            .forward(&batch, &mut self.cache, &mut self.activations)
            .expect("the forward runs");
        let logits = output.logits.read_all().expect("the logits are read");
        (0..logits.num_rows())
            .map(|row| logits.row(row).to_vec())
            .collect()
    }

    /// Feeds one sequence a token at a time and gives the logits after each.
    pub(crate) fn one_by_one(&mut self, tokens: &[Token]) -> Vec<Vec<f32>> {
        let table = self.table(tokens.len());
        (0..tokens.len())
            .flat_map(|at| self.forward(&[committed(&table, tokens, at, at + 1)]))
            .collect()
    }
}

/// The committed rows `start..end` of a sequence whose root is the last of them.
pub(crate) fn committed<'a>(
    table: &'a BlockTable,
    tokens: &'a [Token],
    start: usize,
    end: usize,
) -> SequenceRows<'a> {
    SequenceRows {
        table,
        context_len: end - 1,
        start,
        tokens: &tokens[start..end],
        first_node: 1,
        draft_tokens: &[],
        ancestors: &[],
    }
}
