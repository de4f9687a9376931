//! Who knows: loading, the transformer's forward, the paged KV cache, sampling.

pub mod chat_template;
mod checkpoint;
mod config;
mod demo;
mod error;
mod fingerprint;
mod generation_config;
mod loaded;
mod mapped_file;
mod rope;
mod source;
mod tokenizer;

mod activations;
mod batch;
mod blocks;
mod kv_cache;
mod llama;
mod logits;

mod logprobs;
mod nucleus;
mod sampler;
mod sampling_params;
mod split_mix64;

pub use activations::Activations;
pub use batch::{Batch, SequenceRows};
pub use blocks::{BlockId, BlockPool, BlockTable};
pub use checkpoint::{Checkpoint, Shards};
pub use config::Config;
pub use error::{Dtype, LoadError, Quantization};
pub use foretoken_kernels::{
    DeviceError, DeviceMemory, Noise, RowSampling, device_memory, open_cuda, sample_rows,
};
pub use kv_cache::{KvCache, KvShape};
pub use llama::{Llama, Output};
pub use loaded::{LoadOptions, LoadedModel};
pub use logits::{LogitRows, Logits};
pub use logprobs::Logprobs;
pub use mapped_file::MappedFile;
pub use rope::{Llama3Scaling, Rope};
pub use sampler::Sampler;
pub use sampling_params::SamplingParams;
pub use source::{FileBytes, ModelSource};
pub use split_mix64::split_mix64;
pub use tokenizer::{Tokenizer, TokenizerError};

/// A token id.
pub type Token = u32;

/// Names a sequence for as long as it lives in the engine.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SeqId(pub u64);
