//! What it is worth. The benches are in `benches/`, their workloads in `workloads/`, their results in `RESULTS.md`.

pub mod simulation;
