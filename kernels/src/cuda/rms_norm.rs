//! Launches `rms_norm`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, bail};

use super::{Module, Rows, kernel, launch, module, output};
use crate::args;
use crate::launch::Launch;

static MODULE: Module = module!("rms_norm");

pub(crate) fn rms_norm(
    (y, yl): (&mut CudaStorage, &Layout),
    (x, xl): (&CudaStorage, &Layout),
    (weight, wl): (&CudaStorage, &Layout),
    eps: f32,
) -> Result<()> {
    let (x, weight) = (Rows::new(x, xl)?, Rows::new(weight, wl)?);
    if weight.width != x.width || weight.num_rows != 1 || weight.dtype != x.dtype {
        bail!(
            "rms_norm: rows of {} {:?}, weights {}x{} {:?}",
            x.width,
            x.dtype,
            weight.num_rows,
            weight.width,
            weight.dtype
        );
    }
    let args = args::RmsNorm {
        x: x.address,
        weight: weight.address,
        y: output(y, yl, x.dtype, (x.num_rows, x.width))?,
        x_stride: x.stride,
        width: x.width as u32,
        eps,
    };
    let name = kernel(x.dtype, ["rms_norm_float32", "rms_norm_bfloat16"])?;
    // SAFETY: x, y and the weights were checked to be of one width and dtype, x and y of as many rows.
    unsafe { launch(y.device(), &MODULE, Launch::rows(name, x.num_rows), args) }
}
