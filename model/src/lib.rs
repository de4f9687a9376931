//! Who knows: loading, the transformer's forward, the paged KV cache, sampling.

pub mod chat_template;
mod mapped_file;
mod noise;
mod sampling_params;
mod tokenizer;

pub use mapped_file::MappedFile;
pub use noise::Noise;
pub use sampling_params::SamplingParams;
pub use tokenizer::{Tokenizer, TokenizerError};

/// A token id.
pub type Token = u32;

/// Names a sequence for as long as it lives in the engine.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SeqId(pub u64);
