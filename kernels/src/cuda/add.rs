//! Launches `add`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result};

use super::{Module, Rows, kernel, launch, module, output};
use crate::args;
use crate::launch::Launch;

static MODULE: Module = module!("add");

pub(crate) fn add(x: &mut CudaStorage, xl: &Layout, y: &CudaStorage, yl: &Layout) -> Result<()> {
    let y = Rows::new(y, yl)?;
    let args = args::Add {
        x: output(x, xl, y.dtype, (y.num_rows, y.width))?,
        y: y.address,
        y_stride: y.stride,
        width: y.width as u32,
    };
    let name = kernel(y.dtype, ["add_float32", "add_bfloat16"])?;
    let grid = Launch::packs(name, y.num_rows, y.width, y.dtype.size_in_bytes());
    // SAFETY: x and y were checked to have as many rows of the same width and dtype.
    unsafe { launch(x.device(), &MODULE, grid, args) }
}
