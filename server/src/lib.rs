//! The pipeline: an async edge around one engine thread.
//!
//! The modules stand in the order of the data: what starts it all, the doors, admission, the engine, and the way out.

pub mod config;
mod device;
pub mod generate;
pub mod launch;
mod log;
pub mod memory;
pub mod metrics;
mod otlp;
pub mod serve;
pub mod table;
pub mod train;

pub mod api_key;
mod body_budget;
mod connections;
pub mod grpc;
pub mod openai;

pub mod raw_request;
pub mod refusal;
mod request_id;
mod request_span;

pub mod admission;
pub mod request;
mod validation;

pub mod engine;

pub mod choices;
pub mod generation;
mod lifetime;

pub mod detokenize;
