//! `foretoken-bench ab`: the same requests two ways, in turns, and whether the texts are the same.
//!
//! Blocks go A B, B A, A B and so on, so that a machine that grows slower or faster favours neither.

mod cell;
mod comparison;
mod lossless;
mod options;
mod ratio;
mod side;
#[cfg(test)]
mod tests;

use anyhow::Result;

use super::progress;
use super::workload::Workload;
use cell::Cell;
pub use comparison::{Comparison, Figures, Pair};
pub use lossless::{Difference, Lossless};
pub use options::AbOptions;
pub use ratio::Interval;
use side::sides;

/// Runs every workload at every concurrency.
pub async fn run(options: &AbOptions) -> Result<Vec<Comparison>> {
    let sides = sides(options).await?;
    let num_blocks =
        2 * options.pairs as usize * options.concurrency.len() * options.workload.workload.len();
    let progress = progress::bar("", num_blocks)?;
    let mut comparisons = Vec::new();
    for name in &options.workload.workload {
        let workload = Workload::load(name, &options.workload.synthetic, options.requests.seed)?;
        for &concurrency in &options.concurrency {
            progress.set_message(format!("{name}, {concurrency} at a time"));
            let cell = Cell {
                options,
                workload: &workload,
                concurrency,
            };
            let comparison = cell.compare(&sides, &progress).await?;
            progress.suspend(|| eprintln!("{}", comparison.line()));
            comparisons.push(comparison);
        }
    }
    progress.finish_and_clear();
    Ok(comparisons)
}
