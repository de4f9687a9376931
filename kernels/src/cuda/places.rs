//! The numbers of rows on the device.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, CudaStorage, Device, Result, Storage, bail};

use super::graphs::outside_of_captures;
use super::view::address;
use crate::on_device::OnDevice;
use crate::paging::Paging;

/// Numbers that a kernel reads; alive until the kernel is launched.
pub(crate) struct Numbers {
    pub(crate) address: u64,
    _own: Option<CudaSlice<u32>>,
}

impl Numbers {
    /// Copies a slice.
    pub(crate) fn upload(device: &CudaDevice, values: &[u32]) -> Result<Self> {
        outside_of_captures("numbers were copied")?;
        // Memory of length 0 has no address.
        let own = match values {
            [] => device.clone_htod(&[0])?,
            values => device.clone_htod(values)?,
        };
        let (address, _) = own.device_ptr(&device.cuda_stream());
        Ok(Self {
            address,
            _own: Some(own),
        })
    }

    /// The batch's numbers from `start` on, see `Paging::columns`.
    pub(crate) fn of_batch(device: &CudaDevice, paging: &Paging, start: usize) -> Result<Self> {
        let columns = shared(device, &paging.on_device, || paging.columns())?;
        Ok(Self {
            address: columns + (start * size_of::<u32>()) as u64,
            _own: None,
        })
    }
}

/// Where a copy lies that ops share, made now if there is none; for as long as its owner lives.
pub(crate) fn shared(
    device: &CudaDevice,
    copy: &OnDevice,
    numbers: impl FnOnce() -> Vec<u32>,
) -> Result<u64> {
    let numbers = || {
        outside_of_captures("numbers were copied")?;
        Ok(numbers())
    };
    let copy = copy.of(&Device::Cuda(device.clone()), numbers)?;
    let (storage, layout) = copy.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => address(storage, layout),
        _ => bail!("these numbers were copied to another device"),
    }
}

/// Copies numbers to the beginning of memory that has room for them.
pub(crate) fn overwrite(memory: &mut CudaStorage, numbers: &[u32]) -> Result<()> {
    let device = memory.device().clone();
    match &mut memory.slice {
        CudaStorageSlice::U32(memory) => device.memcpy_htod(numbers, memory),
        _ => bail!("overwrite: memory of another kind of numbers"),
    }
}
