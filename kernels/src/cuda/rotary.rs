//! Launches `rotate`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Layout, Result, bail};

use super::{Module, Rows, kernel, launch, module, view_mut};
use crate::args;
use crate::launch::Launch;
use crate::places::Places;

static MODULE: Module = module!("rotary");

/// `Rotate::check` has seen the shapes and the positions.
pub(crate) fn rotate(
    (x, xl): (&mut CudaStorage, &Layout),
    (cos, cl): (&CudaStorage, &Layout),
    (sin, sl): (&CudaStorage, &Layout),
    positions: Places<'_, usize>,
    num_heads: usize,
) -> Result<()> {
    let (cos, sin) = (Rows::new(cos, cl)?, Rows::new(sin, sl)?);
    if (cos.dtype, sin.dtype) != (DType::F32, DType::F32) {
        bail!("rotate: angles in {:?} and {:?}", cos.dtype, sin.dtype);
    }
    let device = x.device().clone();
    let positions = positions.numbers(&device)?;
    let x = view_mut(x, xl)?;
    let args = args::Rotate {
        x: x.address,
        cos: cos.address,
        sin: sin.address,
        positions: positions.address,
        x_stride: x.stride,
        cos_stride: cos.stride,
        sin_stride: sin.stride,
        num_heads: num_heads as u32,
        half: cos.width as u32,
    };
    let name = kernel(x.dtype, ["rotate_float32", "rotate_bfloat16"])?;
    let grid = Launch::columns(name, x.num_rows, num_heads * cos.width, 1);
    // SAFETY: there is a position for each row, angles for each position, and each row has so many heads.
    unsafe { launch(&device, &MODULE, grid, args) }
}
