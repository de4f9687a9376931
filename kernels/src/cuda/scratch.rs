//! Memory for what kernels of one op leave each other.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Result};

/// Numbers that nobody has written yet. Freed in the stream, behind the kernels that were launched on them.
pub(crate) struct Scratch {
    pub(crate) address: u64,
    _memory: Option<CudaSlice<f32>>,
}

/// Room for so many numbers of 32 bits.
pub(crate) fn scratch(device: &CudaDevice, len: usize) -> Result<Scratch> {
    if len == 0 {
        return Ok(Scratch {
            address: 0,
            _memory: None,
        });
    }
    // SAFETY: kernels write before they read.
    let memory = unsafe { device.alloc::<f32>(len)? };
    let (address, _) = memory.device_ptr(&device.cuda_stream());
    Ok(Scratch {
        address,
        _memory: Some(memory),
    })
}
