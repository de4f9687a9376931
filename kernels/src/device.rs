//! Which device a process computes on, and how much memory it has left.

use candle_core::{Device, Result};
use thiserror::Error;

/// Why a device cannot be used.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// This binary holds no kernels for it.
    #[error(
        "this binary is built without CUDA; build it with `--features cuda`, see kernels/cuda/README.md"
    )]
    NotBuilt,
    /// A library of NVIDIA's is not found.
    #[error("{library} is not found; {remedy}")]
    NoLibrary {
        /// Its file's name.
        library: &'static str,
        /// What brings it.
        remedy: &'static str,
    },
    /// The driver cannot run what this binary holds.
    #[error(
        "the NVIDIA driver is of CUDA {}.{}, and this binary needs one of CUDA {}.{} (series 580) or later",
        found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10
    )]
    OldDriver {
        /// 1000 times the major version and 10 times the minor.
        found: i32,
        /// The same of the oldest that would do.
        needed: i32,
    },
    /// There are fewer devices.
    #[error("there is no CUDA device {ordinal}: the driver shows {count} of them, counted from 0")]
    NoDevice {
        /// As asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The card is older than the kernels.
    #[error(
        "CUDA device {ordinal} has compute capability {}.{}, and the kernels need 8.0 or later", capability.0, capability.1
    )]
    OldCard {
        /// As asked for.
        ordinal: usize,
        /// Major and minor.
        capability: (i32, i32),
    },
    /// The driver failed.
    #[error("{0}")]
    Failed(#[from] candle_core::Error),
}

/// Bytes on a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeviceMemory {
    /// Not in use by anybody.
    pub free: u64,
    /// Altogether.
    pub total: u64,
}

/// Opens the CUDA device of this number, counted from 0.
///
/// All threads of the process then share its one stream; what they launch runs in the order of launching.
pub fn open_cuda(ordinal: usize) -> std::result::Result<Device, DeviceError> {
    #[cfg(feature = "cuda")]
    return crate::cuda::open(ordinal);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = ordinal;
        Err(DeviceError::NotBuilt)
    }
}

/// Memory of a device of its own; none for the CPU, whose memory is the machine's.
pub fn device_memory(device: &Device) -> Result<Option<DeviceMemory>> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return crate::cuda::memory(device).map(Some);
    }
    let _ = device;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_an_error_that_says_so() {
        // Machines that run tests may have a device, and no machine has that many.
        let error = open_cuda(1000).unwrap_err().to_string();
        let known = [
            "without CUDA",
            "is not found",
            "CUDA device 1000",
            "driver is of CUDA",
        ];
        assert!(known.iter().any(|part| error.contains(part)), "{error}");
        assert_eq!(device_memory(&Device::Cpu).unwrap(), None);
    }

    #[test]
    fn versions_are_shown_as_the_vendor_writes_them() {
        let error = DeviceError::OldDriver {
            found: 12_040,
            needed: 13_000,
        };
        let text = error.to_string();
        assert!(
            text.contains("CUDA 12.4") && text.contains("CUDA 13.0"),
            "{text}"
        );
    }
}
