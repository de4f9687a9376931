//! The engine, driven by hand: what it says, and what it survives.

#![cfg(test)]

mod lossless;
mod stress;
mod support;
