//! A target model driven by hand: one sequence, whose rows are a chain.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use clap::{Args, ValueEnum};
use foretoken_model::{
    Activations, Batch, BlockPool, BlockTable, Dtype, KvCache, Llama, LoadOptions, LoadedModel,
    Logits, ModelSource, Quantization, SequenceRows, Token, open_cuda,
};
use foretoken_server::config::DeviceChoice;
use rayon::{ThreadPool, ThreadPoolBuilder};

const BLOCK_SIZE: usize = 16;

/// Rows of a root and its draft tokens, at most.
pub const MAX_NODES: usize = 64;

/// Which model is measured, and by how many threads.
#[derive(Args, Clone, Debug)]
pub struct ModelOptions {
    /// Folder of a model in Hugging Face's layout [default: the carried model]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// CPU threads [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where the model computes: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// Launches a GPU's kernels one by one
    #[arg(long)]
    pub enforce_eager: bool,
}

/// Opens a device.
pub fn device_of(choice: DeviceChoice) -> Result<Device> {
    Ok(match choice {
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Cuda(ordinal) => open_cuda(ordinal)?,
        DeviceChoice::Auto => open_cuda(0).unwrap_or(Device::Cpu),
    })
}

/// Number format of weights, activations and cache.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Format {
    /// What the model's files hold
    Auto,
    /// 4 bytes a weight
    Float32,
    /// 2 bytes a weight
    Bfloat16,
    /// 1 byte a weight, the rest in bfloat16
    Int8,
}

impl Format {
    /// As it is asked for on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl ModelOptions {
    /// Where the model's files lie.
    pub fn source(&self) -> ModelSource {
        match &self.model {
            Some(directory) => ModelSource::Directory(directory.clone()),
            None => ModelSource::demo(),
        }
    }

    /// The model in a format. Every bench loads through here.
    pub fn load(&self, format: Format) -> Result<LoadedModel> {
        let source = self.source();
        let dtype = match format {
            Format::Auto => Dtype::Auto,
            Format::Float32 => Dtype::Float32,
            Format::Bfloat16 | Format::Int8 => Dtype::Bfloat16,
        };
        let load = LoadOptions {
            dtype,
            quantization: (format == Format::Int8).then_some(Quantization::Int8),
            max_model_len: None,
            enforce_eager: self.enforce_eager,
        };
        let device = device_of(self.device)?;
        LoadedModel::load(&source, load, &device).with_context(|| source.place().into_owned())
    }

    /// The threads that compute.
    pub fn pool(&self) -> Result<ThreadPool> {
        Ok(ThreadPoolBuilder::new()
            .num_threads(self.threads.unwrap_or(0))
            .build()?)
    }
}

/// A model, and a cache that one sequence has for itself.
#[derive(Debug)]
pub struct Target {
    llama: Llama,
    cache: KvCache,
    table: BlockTable,
    activations: Activations,
}

impl Target {
    /// Room for `num_slots` positions.
    pub fn new(llama: Llama, num_slots: usize) -> Result<Self> {
        ensure!(
            num_slots <= llama.num_positions(),
            "{num_slots} positions are wanted, the model has {}",
            llama.num_positions()
        );
        let num_blocks = num_slots.div_ceil(BLOCK_SIZE);
        let mut table = BlockTable::default();
        let mut blocks = BlockPool::new(num_blocks, BLOCK_SIZE);
        ensure!(blocks.grow(&mut table, num_slots), "an empty pool has room");
        let num_slots = num_blocks * BLOCK_SIZE;
        let cache = KvCache::new(llama.kv_shape(), num_slots, llama.device())?;
        Ok(Self {
            activations: llama.activations(),
            llama,
            cache,
            table,
        })
    }

    /// The model.
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    /// Computes `tokens` at the positions from `start` on, all before them being computed already.
    ///
    /// Up to [`MAX_NODES`] tokens are a root and a chain of draft tokens: logits for each. More are a prompt's rows:
    /// logits for the last. Returns when the device is done.
    pub fn forward(&mut self, start: usize, tokens: &[Token]) -> Result<Logits<'_>> {
        let num_drafts = match tokens.len() {
            len @ 1..=MAX_NODES => len - 1,
            _ => 0,
        };
        let chain: Vec<u64> = (1..=num_drafts)
            .map(|node| u64::MAX >> (63 - node))
            .collect();
        let (committed, drafts) = tokens.split_at(tokens.len() - num_drafts);
        let mut batch = Batch::new(BLOCK_SIZE);
        batch.push(SequenceRows {
            table: &self.table,
            context_len: (start + committed.len()).saturating_sub(1),
            start,
            tokens: committed,
            first_node: 1,
            draft_tokens: drafts,
            ancestors: &chain,
        });
        let output = self
            .llama
            .forward(&batch, &mut self.cache, &mut self.activations)?;
        self.llama.device().synchronize()?;
        Ok(output.logits)
    }

    /// Bytes of the weights that every forward reads: all but an embedding that is not the LM head too.
    pub fn weight_bytes(&self) -> usize {
        let config = self.llama.config();
        let attention = config.hidden_size * 2 * (config.q_width() + config.kv_width());
        let feed_forward = config.hidden_size * 3 * config.intermediate_size;
        let lm_head = config.hidden_size * config.vocab_size;
        let num_weights = config.num_layers * (attention + feed_forward) + lm_head;
        num_weights * self.llama.weight_bytes()
    }

    /// Bytes of keys and values of a position, in all layers together.
    pub fn slot_bytes(&self) -> usize {
        self.llama.kv_shape().slot_bytes()
    }
}
