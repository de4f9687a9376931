//! Launches `linear_rows`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Layout, Result, bail};

use super::{Module, Numbers, Rows, kernel, launch, module, output};
use crate::args;
use crate::launch::Launch;

static MODULE: Module = module!("linear_rows");

/// The rows of a matrix by index; `scales` are an int8 matrix's, by row.
pub(crate) fn linear_rows(
    (y, yl): (&mut CudaStorage, &Layout),
    (weight, wl): (&CudaStorage, &Layout),
    scales: Option<u64>,
    indices: &[u32],
) -> Result<()> {
    let weight = Rows::new(weight, wl)?;
    if let Some(index) = indices
        .iter()
        .find(|&&index| index as usize >= weight.num_rows)
    {
        bail!("row {index} of a matrix of {}", weight.num_rows);
    }
    let (device, dtype) = (y.device().clone(), y.dtype());
    let name = match (weight.dtype, scales) {
        (DType::U8, Some(_)) => kernel(
            dtype,
            ["linear_rows_int8_float32", "linear_rows_int8_bfloat16"],
        )?,
        (stored, None) if stored == dtype => {
            kernel(dtype, ["linear_rows_float32", "linear_rows_bfloat16"])?
        }
        (stored, _) => bail!("rows of {stored:?} are no rows of {dtype:?}"),
    };
    let indices_there = Numbers::upload(&device, indices)?;
    let args = args::LinearRows {
        weight: weight.address,
        scales: scales.unwrap_or_default(),
        indices: indices_there.address,
        y: output(y, yl, dtype, (indices.len(), weight.width))?,
        width: weight.width as u32,
    };
    let grid = Launch::packs(name, indices.len(), weight.width, dtype.size_in_bytes());
    // SAFETY: every index names a row, and y has one of the same width for each.
    unsafe { launch(&device, &MODULE, grid, args) }
}
