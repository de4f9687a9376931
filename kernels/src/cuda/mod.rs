//! Launching what `kernels/cuda/` holds: modules out of the binary, tensors as addresses.

#![expect(unsafe_code, reason = "a launch is a call of foreign code")]

mod add;
mod gather_silu;
mod graphs;
mod kv;
mod linear;
mod linear_rows;
mod memory;
mod module;
mod open;
mod paged_attention;
mod places;
mod rms_norm;
mod rotary;
mod sampling;
mod scratch;
mod silu_mul;
mod view;

pub(crate) use add::add;
pub(crate) use gather_silu::gather_silu;
pub(crate) use graphs::Graphs;
pub(crate) use kv::{move_kv, write_kv};
pub(crate) use linear::linear;
pub(crate) use linear_rows::linear_rows;
pub(crate) use memory::memory;
pub(crate) use module::{Module, module};
pub(crate) use open::open;
pub(crate) use paged_attention::paged_attention;
pub(crate) use places::{Numbers, overwrite, shared};
pub(crate) use rms_norm::rms_norm;
pub(crate) use rotary::rotate;
pub(crate) use sampling::{change_logits, sample_rows};
pub(crate) use scratch::scratch;
pub(crate) use silu_mul::silu_mul;
pub(crate) use view::{Rows, address, output, view_mut};

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::{CudaDevice, DType, Result, bail};

use crate::launch::Launch;

/// Starts a kernel; nothing is started if its grid is empty.
///
/// # Safety
/// `args` is the struct that the kernel takes, and what its addresses lead the kernel to read and write lies in memory
/// of this device that is kept until the kernel has run: memory that is freed afterwards in the device's stream is.
pub(crate) unsafe fn launch<A: Copy>(
    device: &CudaDevice,
    module: &Module,
    launch: Launch,
    args: A,
) -> Result<()> {
    if launch.grid.contains(&0) {
        return Ok(());
    }
    let function = module.function(device, launch)?;
    let stream = device.cuda_stream();
    let [x, y, z] = launch.grid;
    let config = LaunchConfig {
        grid_dim: (x, y, z),
        block_dim: (launch.threads, 1, 1),
        shared_mem_bytes: launch.shared_bytes,
    };
    let args = Argument(args);
    // SAFETY: the caller's promise.
    unsafe { stream.launch_builder(&function).arg(&args).launch(config) }.w()?;
    Ok(())
}

/// A kernel's one argument, which is copied as its bytes are.
#[repr(transparent)]
struct Argument<A>(A);

// SAFETY: `launch`'s caller promises that it is the struct that the kernel takes.
unsafe impl<A: Copy> DeviceRepr for Argument<A> {}

/// The kernel for rows of a dtype: one of `[float32, bfloat16]`.
pub(crate) fn kernel(dtype: DType, kernels: [&'static str; 2]) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok(kernels[0]),
        DType::BF16 => Ok(kernels[1]),
        other => bail!("expected float32 or bfloat16, found {other:?}"),
    }
}
