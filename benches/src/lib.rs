//! What it is worth. The benches are in `benches/`, programs beside them in `examples/`, their workloads in
//! `workloads/`, their results in `RESULTS.md`; here is what they share.

pub mod bandwidth;
pub mod simulation;
pub mod target;
