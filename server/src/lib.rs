//! The pipeline: an async edge around one engine thread.
//!
//! The modules stand in the order of the data.

pub mod admission;
pub mod config;
pub mod detokenize;
pub mod engine;
pub mod generation;
pub mod request;
