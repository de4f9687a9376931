//! Launches `linear`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, bail};

use super::{Module, Rows, launch, module, output, scratch, shared};
use crate::linear::launches::{Args, Shape};
use crate::on_device::OnDevice;

static MODULE: Module = module!("linear");

/// Zeros in which blocks count those that are done, and which the last of them leaves as zeros. Products run one after
/// another.
static ARRIVED: OnDevice = OnDevice::new();

/// Tiles of rows and outputs that a product may have if its sums are partial.
const MOST_TILES: usize = 1 << 16;

/// The rows `x` times a matrix of `[out, in]`, transposed.
pub(crate) fn linear(
    (y, yl): (&mut CudaStorage, &Layout),
    (x, xl): (&CudaStorage, &Layout),
    (w, wl): (&CudaStorage, &Layout),
) -> Result<()> {
    let (x, w) = (Rows::new(x, xl)?, Rows::new(w, wl)?);
    if (x.width, x.dtype) != (w.width, w.dtype) || w.stride != w.width as i64 {
        bail!(
            "linear: rows of {} {:?}, weights for {} {:?} {} apart",
            x.width,
            x.dtype,
            w.width,
            w.dtype,
            w.stride
        );
    }
    let shape = Shape {
        dtype: x.dtype,
        num_rows: x.num_rows,
        num_inputs: x.width,
        num_outputs: w.num_rows,
        is_aligned: x.is_aligned() && w.is_aligned(),
    };
    let device = y.device().clone();
    let partials = scratch(&device, shape.num_partials())?;
    let y_dtype = y.dtype();
    if !matches!(y_dtype, DType::F32 | DType::BF16) {
        bail!("linear: an output of {y_dtype:?}");
    }
    let args = Args {
        x: x.address,
        w: w.address,
        y: output(y, yl, y_dtype, (x.num_rows, w.num_rows))?,
        partials: partials.address,
        arrived: arrived(&device, shape)?,
        x_stride: x.stride,
        num_rows: x.num_rows as u32,
        num_inputs: x.width as u32,
        num_outputs: w.num_rows as u32,
        y_is_float: (y_dtype == DType::F32).into(),
    };
    // SAFETY: x, w and y were checked to fit each other; there are partial sums and counts for every block.
    unsafe { launch(&device, &MODULE, shape.launch()?, args) }
}

fn arrived(device: &CudaDevice, shape: Shape) -> Result<u64> {
    if shape.num_partials() > 0 && shape.num_tiles() > MOST_TILES {
        bail!(
            "linear: {} tiles of rows and outputs, at most {MOST_TILES} are counted",
            shape.num_tiles()
        );
    }
    shared(device, &ARRIVED, || vec![0; MOST_TILES])
}
