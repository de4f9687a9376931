//! What is left of a device's memory.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::result;
use candle_core::{CudaDevice, Result};

use crate::device::DeviceMemory;

/// Memory of the device once all that was launched has run.
pub(crate) fn memory(device: &CudaDevice) -> Result<DeviceMemory> {
    let stream = device.cuda_stream();
    let context = stream.context();
    stream.synchronize().w()?;
    // What is freed stays in the pool (see `open`) and would count as in use.
    // SAFETY: the device is open, and nothing is running that uses freed memory.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        result::mem_pool::trim_to(pool, 0).w()?;
    }
    let (free, total) = context.mem_get_info().w()?;
    Ok(DeviceMemory {
        free: free as u64,
        total: total as u64,
    })
}
