//! Tensors as kernels see them: an address, and how the rows behind it lie.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use candle_core::{CudaStorage, DType, Layout, Result, bail};

use crate::rows::matrix;

/// A matrix whose rows are contiguous.
///
/// Memory is freed in the stream, behind the kernels that were launched on it (see `open`), so an address is good for
/// every launch that is made while its tensor lives.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) address: u64,
    pub(crate) dtype: DType,
    pub(crate) num_rows: usize,
    pub(crate) width: usize,
    /// Elements between the beginnings of two rows.
    pub(crate) stride: i64,
}

impl Rows {
    /// Views storage as `[rows, width]`.
    pub(crate) fn new(storage: &CudaStorage, layout: &Layout) -> Result<Self> {
        let (num_rows, width, stride) = matrix(layout)?;
        Ok(Self {
            address: address(storage, layout)?,
            dtype: storage.dtype(),
            num_rows,
            width,
            stride: stride as i64,
        })
    }
}

impl Rows {
    /// Whether rows begin on multiples of 16 bytes.
    pub(crate) fn is_aligned(&self) -> bool {
        let stride = self.stride as usize * self.dtype.size_in_bytes();
        self.address.is_multiple_of(16) && stride.is_multiple_of(16)
    }
}

/// What a kernel writes, viewed as `[rows, width]`.
pub(crate) fn view_mut(storage: &mut CudaStorage, layout: &Layout) -> Result<Rows> {
    Rows::new(storage, layout)
}

/// The address of what an op writes: contiguous, `[num_rows, width]`.
pub(crate) fn output(
    storage: &mut CudaStorage,
    layout: &Layout,
    dtype: DType,
    (num_rows, width): (usize, usize),
) -> Result<u64> {
    if !layout.is_contiguous() || layout.dims() != [num_rows, width] || storage.dtype() != dtype {
        bail!(
            "an output of {:?} {:?} with strides {:?} for {num_rows} contiguous rows of {width} {dtype:?}",
            layout.dims(),
            storage.dtype(),
            layout.stride()
        );
    }
    address(storage, layout)
}

/// Where a tensor begins.
pub(crate) fn address(storage: &CudaStorage, layout: &Layout) -> Result<u64> {
    let stream = storage.device().cuda_stream();
    let start = match &storage.slice {
        CudaStorageSlice::F32(slice) => start(slice, &stream),
        CudaStorageSlice::BF16(slice) => start(slice, &stream),
        CudaStorageSlice::U8(slice) => start(slice, &stream),
        CudaStorageSlice::U32(slice) => start(slice, &stream),
        _ => bail!("kernels do not take {:?}", storage.dtype()),
    };
    Ok(start + (layout.start_offset() * storage.dtype().size_in_bytes()) as u64)
}

fn start<T>(slice: &CudaSlice<T>, stream: &CudaStream) -> u64 {
    slice.device_ptr(stream).0
}
