//! What it is worth. `harness` is the program `foretoken-bench`; the benches are in `benches/`, programs beside them in
//! `examples/`, their workloads in `workloads/`, their results in `RESULTS.md`; the rest here is what they share.

pub mod bandwidth;
pub mod harness;
pub mod simulation;
pub mod target;
