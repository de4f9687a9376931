//! Launches `write_kv` and `move_kv`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, bail};

use super::{Module, Rows, kernel, launch, module, view_mut};
use crate::kv::{MOST_MOVES, groups};
use crate::launch::Launch;
use crate::places::Places;

static MODULE: Module = module!("kv");

#[derive(Clone, Copy)]
#[repr(C)]
struct WriteArgs {
    cache: u64,
    rows: u64,
    slots: u64,
    cache_stride: i64,
    rows_stride: i64,
    num_slots: u32,
    width: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MoveArgs {
    cache: u64,
    cache_stride: i64,
    width: u32,
    num_moves: u32,
    moves: [[u32; 2]; MOST_MOVES],
}

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
    let args = WriteArgs {
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
        let mut args = MoveArgs {
            cache: cache.address,
            cache_stride: cache.stride,
            width: cache.width as u32,
            num_moves: group.len() as u32,
            moves: [[0; 2]; MOST_MOVES],
        };
        for (slots, &(from, to)) in args.moves.iter_mut().zip(group) {
            *slots = [from, to];
        }
        // SAFETY: all slots lie in the cache.
        unsafe { launch(&device, &MODULE, grid, args) }?;
    }
    Ok(())
}
