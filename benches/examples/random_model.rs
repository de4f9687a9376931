//! Writes a Llama checkpoint of realistic shape with random weights: for measuring speed, which does not depend on what
//! the weights say.
//!
//! `cargo run --release -p foretoken-benches --example random_model -- 110m DIR [--seed N]`
//!
//! The tokenizer is the carried model's: ids beyond it exist in the model and have no text.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use half::bf16;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

/// Writes a checkpoint with random weights.
#[derive(Parser)]
struct Options {
    /// Shape of the model
    preset: Preset,
    /// Folder for the files, created if it is not there
    directory: PathBuf,
    /// The same seed writes the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// 109,529,856 parameters, tied, the shape of stories110M: 219 MB
    #[value(name = "110m")]
    Million110,
    /// 1,032,929,280 parameters, untied, TinyLlama's layers with twice its KV heads, 20 of them: 2.07 GB
    #[value(name = "1b")]
    Billion1,
    /// 6,738,415,616 parameters, the shape of Llama-2-7B: 13.5 GB
    #[value(name = "llama-2-7b")]
    Llama2,
    /// 8,030,261,248 parameters, the shape of Llama-3.1-8B: 16.1 GB
    #[value(name = "llama-3.1-8b")]
    Llama3,
    /// One layer of Llama-3.1-70B: 5.9 GB, most of them the vocabulary's
    #[value(name = "70b-layer")]
    Layer70,
}

struct Shape {
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    intermediate: usize,
    vocab: usize,
    tied: bool,
}

const LLAMA_3_VOCAB: usize = 128_256;

impl Preset {
    fn shape(self) -> Shape {
        match self {
            Self::Million110 => Shape {
                hidden: 768,
                layers: 12,
                heads: 12,
                kv_heads: 12,
                intermediate: 2048,
                vocab: 32_000,
                tied: true,
            },
            Self::Billion1 => Shape {
                hidden: 2048,
                layers: 20,
                heads: 32,
                kv_heads: 8,
                intermediate: 5632,
                vocab: 32_000,
                tied: false,
            },
            Self::Llama2 => Shape {
                hidden: 4096,
                layers: 32,
                heads: 32,
                kv_heads: 32,
                intermediate: 11_008,
                vocab: 32_000,
                tied: false,
            },
            Self::Llama3 => Shape {
                hidden: 4096,
                layers: 32,
                heads: 32,
                kv_heads: 8,
                intermediate: 14_336,
                vocab: LLAMA_3_VOCAB,
                tied: false,
            },
            Self::Layer70 => Shape {
                hidden: 8192,
                layers: 1,
                heads: 64,
                kv_heads: 8,
                intermediate: 28_672,
                vocab: LLAMA_3_VOCAB,
                tied: false,
            },
        }
    }
}

/// A tensor to be written: norms have one dimension and are all ones.
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

impl Tensor {
    fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
        }
    }

    fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<bf16>()
    }
}

fn main() -> Result<()> {
    let Options {
        preset,
        directory,
        seed,
    } = Options::parse();
    let shape = preset.shape();
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/demo");
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        fs::copy(demo.join(name), directory.join(name)).with_context(|| name.to_owned())?;
    }
    let config = serde_json::to_string_pretty(&config(&shape))?;
    fs::write(directory.join("config.json"), config)?;
    let path = directory.join("model.safetensors");
    let mut file = BufWriter::new(File::create(&path)?);
    write(&mut file, &tensors(&shape), seed).with_context(|| path.display().to_string())
}

fn config(shape: &Shape) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.hidden / shape.heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocab,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    })
}

fn tensors(shape: &Shape) -> Vec<Tensor> {
    let &Shape {
        hidden,
        intermediate,
        ..
    } = shape;
    let kv_width = hidden / shape.heads * shape.kv_heads;
    let mut tensors = vec![Tensor::new(
        "model.embed_tokens.weight",
        &[shape.vocab, hidden],
    )];
    for layer in 0..shape.layers {
        let mut push = |name: &str, shape: &[usize]| {
            tensors.push(Tensor::new(
                format!("model.layers.{layer}.{name}.weight"),
                shape,
            ));
        };
        push("input_layernorm", &[hidden]);
        push("self_attn.q_proj", &[hidden, hidden]);
        push("self_attn.k_proj", &[kv_width, hidden]);
        push("self_attn.v_proj", &[kv_width, hidden]);
        push("self_attn.o_proj", &[hidden, hidden]);
        push("post_attention_layernorm", &[hidden]);
        push("mlp.gate_proj", &[intermediate, hidden]);
        push("mlp.up_proj", &[intermediate, hidden]);
        push("mlp.down_proj", &[hidden, intermediate]);
    }
    tensors.push(Tensor::new("model.norm.weight", &[hidden]));
    if !shape.tied {
        tensors.push(Tensor::new("lm_head.weight", &[shape.vocab, hidden]));
    }
    tensors
}

/// The safetensors format: the header's length, the header, then row after row, of which one is held at a time.
fn write(out: &mut impl Write, tensors: &[Tensor], seed: u64) -> Result<()> {
    let mut header = Map::new();
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.num_bytes();
        let entry = json!({"dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    // The data starts at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;

    let progress = ProgressBar::new(end as u64).with_style(ProgressStyle::with_template(
        "{bar:40} {bytes}/{total_bytes} {msg} (ends in {eta})",
    )?);
    let mut random = Random(seed);
    for tensor in tensors {
        progress.set_message(tensor.name.clone());
        write_tensor(out, tensor, &mut random)?;
        progress.inc(tensor.num_bytes() as u64);
    }
    progress.finish_and_clear();
    Ok(out.flush()?)
}

fn write_tensor(out: &mut impl Write, tensor: &Tensor, random: &mut Random) -> Result<()> {
    let fan_in = *tensor.shape.last().context("a tensor without dimensions")?;
    let is_norm = tensor.shape.len() == 1;
    let num_rows = tensor.shape.iter().product::<usize>() / fan_in;
    // Uniform over ± sqrt(3 / fan_in) has the deviation 1 / sqrt(fan_in): outputs stay as large as inputs.
    let bound = (3.0 / fan_in as f32).sqrt();
    for _ in 0..num_rows {
        let row: Vec<u8> = (0..fan_in)
            .map(|_| match is_norm {
                true => bf16::ONE,
                false => bf16::from_f32(random.next() * bound),
            })
            .flat_map(bf16::to_le_bytes)
            .collect();
        out.write_all(&row)?;
    }
    Ok(())
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
struct Random(u64);

impl Random {
    /// Uniform over -1 to 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
