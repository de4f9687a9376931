//! What the device runs: one file per op.

pub mod math;
