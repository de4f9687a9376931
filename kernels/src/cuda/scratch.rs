//! Memory for what kernels of one op leave each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Result};

use super::graphs::outside_of_captures;

/// Room for one op's numbers, whose kernels run behind those of the op before. It stays where it is while it is large
/// enough, because captured launches know its address.
static MEMORY: Mutex<Option<CudaSlice<f32>>> = Mutex::new(None);

/// Numbers that nobody has written yet, for kernels that are launched while it lives.
pub(crate) struct Scratch {
    /// 0 if there has been no need of any yet.
    pub(crate) address: u64,
    _memory: MutexGuard<'static, Option<CudaSlice<f32>>>,
}

/// Room for so many numbers of 32 bits.
pub(crate) fn scratch(device: &CudaDevice, len: usize) -> Result<Scratch> {
    // A slice is whole at any time, so a panic elsewhere spoils nothing.
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let capacity = memory.as_ref().map_or(0, CudaSlice::len);
    if len > capacity {
        outside_of_captures("scratch memory grew")?;
        // Freed in the stream, behind the kernels that were launched on it.
        *memory = None;
        // SAFETY: kernels write before they read.
        *memory = Some(unsafe { device.alloc::<f32>(len.next_power_of_two())? });
    }
    let stream = device.cuda_stream();
    Ok(Scratch {
        address: memory
            .as_ref()
            .map_or(0, |memory| memory.device_ptr(&stream).0),
        _memory: memory,
    })
}
