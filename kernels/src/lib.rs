//! What the device runs: one file per op, a CPU implementation that is also the specification.
//!
//! Every op keeps one contract: a row's result depends on that row's inputs alone, to the bit, whatever rows stand
//! beside it and however many threads run.

mod add;
mod gather_silu;
mod kv;
mod linear;
pub mod math;
mod paged_attention;
mod paging;
mod parallel;
mod rms_norm;
mod rotary;
mod rows;
mod sampling;
mod silu_mul;
mod simd;
#[cfg(test)]
mod tests;

pub use add::add;
pub use gather_silu::gather_silu;
pub use kv::{move_kv, write_kv};
pub use linear::Linear;
pub use paged_attention::paged_attention;
pub use paging::Paging;
pub use rms_norm::rms_norm;
pub use rotary::rotate;
pub use sampling::{Candidate, Draw, Noise, Scores, best, log_sum_exp, top_k};
pub use silu_mul::silu_mul;
