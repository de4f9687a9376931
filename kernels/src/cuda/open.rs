//! Opening a device: what is missing is found out before the first call that would not return.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result, sys};
use candle_core::cuda_backend::cudarc::{cublas, curand};
use candle_core::{CudaDevice, Device};

use crate::device::DeviceError;

/// The oldest driver that translates PTX of the compiler that candle's kernels are made with.
const OLDEST_DRIVER: i32 = 13_000;

/// The oldest card that `kernels/build.rs` makes code for.
const OLDEST_CARD: (i32, i32) = (8, 0);

pub(crate) fn open(ordinal: usize) -> Result<Device, DeviceError> {
    libraries()?;
    driver()?;
    let count = match CudaContext::device_count() {
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        count => count.w()?.max(0) as usize,
    };
    if ordinal >= count {
        return Err(DeviceError::NoDevice { ordinal, count });
    }
    // candle's own default is a stream for each thread, and nothing orders them.
    let device = CudaDevice::new_with_stream(ordinal)?;
    let stream = device.cuda_stream();
    let context = stream.context();
    let capability = context.compute_capability().w()?;
    if capability < OLDEST_CARD {
        return Err(DeviceError::OldCard {
            ordinal,
            capability,
        });
    }
    // SAFETY: there is one stream, so that nothing waits for another's events; no tensor lies on the device yet.
    unsafe { device.disable_event_tracking() };
    keep_freed_memory(context).w()?;
    Ok(Device::Cuda(device))
}

/// The libraries that opening a device calls. A call into one that is not there panics.
fn libraries() -> Result<(), DeviceError> {
    // SAFETY: their initialisers are called by everybody who uses them.
    let found = unsafe {
        [
            (
                sys::is_culib_present(),
                "libcuda.so.1",
                "it comes with NVIDIA's driver",
            ),
            (
                cublas::sys::is_culib_present(),
                "libcublas.so.13",
                "install CUDA 13's libraries, or name their folder in LD_LIBRARY_PATH",
            ),
            (
                curand::sys::is_culib_present(),
                "libcurand.so.10",
                "install CUDA 13's libraries, or name their folder in LD_LIBRARY_PATH",
            ),
        ]
    };
    match found.into_iter().find(|(is_there, _, _)| !is_there) {
        Some((_, library, remedy)) => Err(DeviceError::NoLibrary { library, remedy }),
        None => Ok(()),
    }
}

fn driver() -> Result<(), DeviceError> {
    let mut found = 0;
    // SAFETY: writes the one number.
    unsafe { sys::cuDriverGetVersion(&mut found) }
        .result()
        .w()?;
    if found < OLDEST_DRIVER {
        return Err(DeviceError::OldDriver {
            found,
            needed: OLDEST_DRIVER,
        });
    }
    Ok(())
}

/// The pool gives freed memory back to the system whenever the stream runs empty, unless it is told otherwise.
fn keep_freed_memory(context: &CudaContext) -> Result<(), DriverError> {
    let mut bytes = u64::MAX;
    // SAFETY: the device is open, and the attribute is a number of 64 bits, which is read at once.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut bytes).cast())
    }
}
