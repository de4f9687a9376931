//! Launches `silu_mul`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, bail};

use super::{Module, Rows, kernel, launch, module, output};
use crate::args;
use crate::launch::Launch;

static MODULE: Module = module!("silu_mul");

pub(crate) fn silu_mul(
    y: &mut CudaStorage,
    yl: &Layout,
    x: &CudaStorage,
    xl: &Layout,
) -> Result<()> {
    let x = Rows::new(x, xl)?;
    if !x.width.is_multiple_of(2) {
        bail!("silu_mul: rows of odd width {}", x.width);
    }
    let width = x.width / 2;
    let args = args::SiluMul {
        x: x.address,
        y: output(y, yl, x.dtype, (x.num_rows, width))?,
        x_stride: x.stride,
        width: width as u32,
    };
    let name = kernel(x.dtype, ["silu_mul_float32", "silu_mul_bfloat16"])?;
    let grid = Launch::packs(name, x.num_rows, width, x.dtype.size_in_bytes());
    // SAFETY: x was checked to have as many rows as y, twice as wide and of the same dtype.
    unsafe { launch(y.device(), &MODULE, grid, args) }
}
