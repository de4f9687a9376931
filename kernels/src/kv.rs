//! `write_kv` and `move_kv`: rows into the paged cache, and accepted rows to the front.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};

use crate::rows::{Element, Rows, matrix, with_element};

/// Writes row i of `rows` into slot `slots[i]` of `cache`.
///
/// `cache`: `[slots, width]`, `rows`: `[rows, width]`, of one dtype.
pub fn write_kv(cache: &Tensor, rows: &Tensor, slots: &[u32]) -> Result<()> {
    cache.inplace_op2(rows, &WriteKv { slots })
}

/// Copies slot `from` to slot `to` for each pair, in order.
///
/// For an accepted path, whose nodes rise and never stand before their place on the path, moving in order overwrites
/// no row that is still needed. `cache`: `[slots, width]`.
pub fn move_kv(cache: &Tensor, moves: &[(u32, u32)]) -> Result<()> {
    if moves.is_empty() {
        return Ok(());
    }
    cache.inplace_op1(&MoveKv { moves })
}

struct WriteKv<'a> {
    slots: &'a [u32],
}

impl InplaceOp2 for WriteKv<'_> {
    fn name(&self) -> &'static str {
        "write_kv"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cl: &Layout,
        rows: &CpuStorage,
        rl: &Layout,
    ) -> Result<()> {
        let (num_slots, width, stride) = matrix(cl)?;
        with_element!(rows.dtype(), T, {
            let rows = Rows::<T>::new(rows, rl)?;
            if rows.num_rows != self.slots.len() || rows.width != width {
                bail!(
                    "write_kv: {} rows of {} for {} slots of {width}",
                    rows.num_rows,
                    rows.width,
                    self.slots.len()
                );
            }
            let cache = &mut T::slice_mut(cache)?[cl.start_offset()..];
            for (row, &slot) in self.slots.iter().enumerate() {
                check(slot, num_slots)?;
                cache[slot as usize * stride..][..width].copy_from_slice(rows.row(row));
            }
        });
        Ok(())
    }
}

struct MoveKv<'a> {
    moves: &'a [(u32, u32)],
}

impl InplaceOp1 for MoveKv<'_> {
    fn name(&self) -> &'static str {
        "move_kv"
    }

    fn cpu_fwd(&self, cache: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (num_slots, width, stride) = matrix(layout)?;
        with_element!(cache.dtype(), T, {
            let cache = &mut T::slice_mut(cache)?[layout.start_offset()..];
            for &(from, to) in self.moves {
                check(from, num_slots)?;
                check(to, num_slots)?;
                let from = from as usize * stride;
                cache.copy_within(from..from + width, to as usize * stride);
            }
        });
        Ok(())
    }
}

fn check(slot: u32, num_slots: usize) -> Result<()> {
    if slot as usize >= num_slots {
        bail!("slot {slot} is outside the cache of {num_slots} slots");
    }
    Ok(())
}
