//! The device that the process computes on, chosen once.

use candle_core::Device;
use foretoken_model::{DeviceError, open_cuda};

use crate::config::DeviceChoice;

/// Opens what was asked for. Whoever leaves the choice to us gets a device in any case.
pub(crate) fn open(choice: DeviceChoice) -> Result<Device, DeviceError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda(ordinal) => open_cuda(ordinal),
        DeviceChoice::Auto => Ok(open_cuda(0).unwrap_or_else(|reason| {
            match reason {
                DeviceError::NotBuilt => {}
                reason => tracing::info!(%reason, "computing on the CPU"),
            }
            Device::Cpu
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_by_name_is_not_replaced() {
        assert!(open(DeviceChoice::Cpu).unwrap().is_cpu());
        assert!(open(DeviceChoice::Auto).is_ok());
        assert!(open(DeviceChoice::Cuda(1000)).is_err());
    }
}
