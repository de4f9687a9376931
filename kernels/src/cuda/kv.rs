//! Launches `write_kv` and `move_kv`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, bail};

use super::{Module, Rows, kernel, launch, module, view_mut};
use crate::args;
use crate::kv::groups;
use crate::launch::Launch;
use crate::places::Places;

static MODULE: Module = module!("kv");

/// `WriteKv::check` has seen the shapes and the slots.
pub(crate) fn write_kv(
    (cache, cl): (&mut CudaStorage, &Layout),
    (rows, rl): (&CudaStorage, &Layout),
    slots: Places<'_, u32>,
) -> Result<()> {
    let device = rows.device().clone();
    let slots = slots.numbers(&device)?;
    let (cache, rows) = (view_mut(cache, cl)?, Rows::new(rows, rl)?);
    if cache.dtype != rows.dtype {
        bail!(
            "write_kv: rows in {:?} for a cache in {:?}",
            rows.dtype,
            cache.dtype
        );
    }
    let args = args::WriteKv {
        cache: cache.address,
        rows: rows.address,
        slots: slots.address,
        cache_stride: cache.stride,
        rows_stride: rows.stride,
        num_slots: cache.num_rows as u32,
        width: cache.width as u32,
    };
    let name = kernel(rows.dtype, ["write_kv_float32", "write_kv_bfloat16"])?;
    let grid = Launch::packs(name, rows.num_rows, rows.width, rows.dtype.size_in_bytes());
    // SAFETY: there is a slot for each row, and rows and slots are of one width and dtype.
    unsafe { launch(&device, &MODULE, grid, args) }
}

/// `MoveKv::check` has seen the slots.
pub(crate) fn move_kv(
    cache: &mut CudaStorage,
    layout: &Layout,
    moves: &[(u32, u32)],
) -> Result<()> {
    let device = cache.device().clone();
    let cache = view_mut(cache, layout)?;
    let name = kernel(cache.dtype, ["move_kv_float32", "move_kv_bfloat16"])?;
    // One row of blocks, each of which makes all moves in its columns.
    let grid = Launch::packs(name, 1, cache.width, cache.dtype.size_in_bytes());
    for group in groups(moves) {
        let args = args::MoveKv::new(cache.address, cache.stride, cache.width as u32, group);
        // SAFETY: all slots lie in the cache.
        unsafe { launch(&device, &MODULE, grid, args) }?;
    }
    Ok(())
}
