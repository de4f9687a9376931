//! Llama checkpoints: what they need to load, what they compute, and to which bits.

#![cfg(test)]

mod bit_contract;
mod common;
mod loading;
mod oracle;
