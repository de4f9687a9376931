//! The pipeline: an async edge around one engine thread.
//!
//! The modules stand in the order of the data.

pub mod api_key;
pub mod openai;

pub mod admission;
pub mod request;

pub mod generation;

pub mod detokenize;
