//! Who knows: loading, the transformer's forward, the paged KV cache, sampling.

pub mod chat_template;
mod sampling_params;
mod tokenizer;

pub use sampling_params::SamplingParams;
pub use tokenizer::{Tokenizer, TokenizerError};

/// A token id.
pub type Token = u32;
