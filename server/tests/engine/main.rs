//! The engine, driven by hand: what it says, and what it survives.

#![cfg(test)]

mod cells;
mod chimera;
mod draft_model;
mod logprobs;
mod lossless;
mod order;
mod predictions;
mod prefixes;
mod shared_outputs;
mod stress;
mod support;
