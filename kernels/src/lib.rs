//! What the device runs: one file per op, a CPU implementation that is also the specification.
//!
//! Every op keeps one contract: a row's result depends on that row's inputs alone, to the bit, whatever rows stand
//! beside it and however many threads run.

mod add;
#[cfg(any(feature = "cuda", test))]
mod args;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod gather_silu;
mod graphs;
mod kv;
#[cfg(any(feature = "cuda", test))]
mod launch;
mod linear;
pub mod math;
mod on_device;
mod paged_attention;
mod paging;
mod parallel;
mod places;
mod rms_norm;
mod rotary;
mod rows;
mod sampling;
mod silu_mul;
mod simd;
#[cfg(test)]
mod tests;

pub use add::add;
pub use device::{DeviceError, DeviceMemory, device_memory, open_cuda};
pub use gather_silu::gather_silu;
pub use graphs::{Common, Graphs};
pub use kv::{move_kv, write_kv};
pub use linear::Linear;
pub use on_device::OnDevice;
pub use paged_attention::{Planned, paged_attention};
pub use paging::Paging;
pub use places::Places;
pub use rms_norm::rms_norm;
pub use rotary::rotate;
pub use sampling::{
    Candidate, Draw, LogitChange, Noise, RowSampling, Scores, best, log_sum_exp, nucleus_len,
    sample_rows, top_k,
};
pub use silu_mul::silu_mul;
