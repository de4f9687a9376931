//! Launches `gather_silu`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result};

use super::{Module, Numbers, Rows, kernel, launch, module, output};
use crate::args;
use crate::gather_silu::PARTS;
use crate::launch::Launch;

static MODULE: Module = module!("gather_silu");

/// `GatherSilu::width` has seen the entries, and the width that is given here.
pub(crate) fn gather_silu(
    (y, yl): (&mut CudaStorage, &Layout),
    (table, tl): (&CudaStorage, &Layout),
    rows: &[[u32; PARTS]],
    width: usize,
) -> Result<()> {
    let device = y.device().clone();
    let table = Rows::new(table, tl)?;
    let num_rows = rows.len();
    let there = Numbers::upload(&device, rows.as_flattened())?;
    let args = args::GatherSilu {
        table: table.address,
        rows: there.address,
        y: output(y, yl, table.dtype, (num_rows, width))?,
        table_stride: table.stride,
        width: width as u32,
    };
    let name = kernel(table.dtype, ["gather_silu_float32", "gather_silu_bfloat16"])?;
    let grid = Launch::packs(name, num_rows, width, table.dtype.size_in_bytes());
    // SAFETY: every entry names a row of the table, of as many parts as a row has entries; y has a row for each.
    unsafe { launch(&device, &MODULE, grid, args) }
}
