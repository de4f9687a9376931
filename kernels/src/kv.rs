//! `write_kv` and `move_kv`: rows into the paged cache, and accepted rows to the front.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};

use crate::places::Places;
use crate::rows::{Element, Rows, matrix, with_element};

/// Writes row i of `rows` into slot `slots[i]` of `cache`; a row of slot `u32::MAX`, which only fills a step up, nowhere.
///
/// `cache`: `[slots, width]`, `rows`: `[rows, width]`, of one dtype.
pub fn write_kv<'a>(
    cache: &Tensor,
    rows: &Tensor,
    slots: impl Into<Places<'a, u32>>,
) -> Result<()> {
    let slots = slots.into();
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
    slots: Places<'a, u32>,
}

impl WriteKv<'_> {
    fn check(&self, cache: &Layout, rows: &Layout) -> Result<()> {
        let ((num_slots, width, _), rows) = (matrix(cache)?, matrix(rows)?);
        let slots = self.slots.values();
        if (rows.0, rows.1) != (slots.len(), width) {
            bail!(
                "write_kv: {} rows of {} for {} slots of {width}",
                rows.0,
                rows.1,
                slots.len()
            );
        }
        check_slots(slots, num_slots)
    }
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
        self.check(cl, rl)?;
        let (_, width, stride) = matrix(cl)?;
        with_element!(rows.dtype(), T, {
            let rows = Rows::<T>::new(rows, rl)?;
            let cache = &mut T::slice_mut(cache)?[cl.start_offset()..];
            for (row, &slot) in self.slots.values().iter().enumerate() {
                if slot != NO_SLOT {
                    cache[slot as usize * stride..][..width].copy_from_slice(rows.row(row));
                }
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        cache: &mut candle_core::CudaStorage,
        cl: &Layout,
        rows: &candle_core::CudaStorage,
        rl: &Layout,
    ) -> Result<()> {
        self.check(cl, rl)?;
        crate::cuda::write_kv((cache, cl), (rows, rl), self.slots)
    }
}

struct MoveKv<'a> {
    moves: &'a [(u32, u32)],
}

impl MoveKv<'_> {
    fn check(&self, cache: &Layout) -> Result<()> {
        let (num_slots, _, _) = matrix(cache)?;
        let mut slots = self.moves.iter().flat_map(|&(from, to)| [from, to]);
        slots.try_for_each(|slot| check(slot, num_slots))
    }
}

impl InplaceOp1 for MoveKv<'_> {
    fn name(&self) -> &'static str {
        "move_kv"
    }

    fn cpu_fwd(&self, cache: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.check(layout)?;
        let (_, width, stride) = matrix(layout)?;
        with_element!(cache.dtype(), T, {
            let cache = &mut T::slice_mut(cache)?[layout.start_offset()..];
            for &(from, to) in self.moves {
                let from = from as usize * stride;
                cache.copy_within(from..from + width, to as usize * stride);
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, cache: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
        self.check(layout)?;
        crate::cuda::move_kv(cache, layout, self.moves)
    }
}

/// The slot of a row that is written nowhere.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Checks slots that rows are written to.
pub(crate) fn check_slots(slots: &[u32], num_slots: usize) -> Result<()> {
    let mut slots = slots.iter().filter(|&&slot| slot != NO_SLOT);
    slots.try_for_each(|&slot| check(slot, num_slots))
}

fn check(slot: u32, num_slots: usize) -> Result<()> {
    if slot as usize >= num_slots {
        bail!("slot {slot} is outside the cache of {num_slots} slots");
    }
    Ok(())
}

/// Moves of one launch: they travel in its argument.
#[cfg(any(feature = "cuda", test))]
pub(crate) const MOST_MOVES: usize = 64;

/// Cuts moves, in order, into groups in which none reads what an earlier one writes, so that a kernel may read some of a
/// group's rows before it writes any of them.
#[cfg(any(feature = "cuda", test))]
pub(crate) fn groups(mut moves: &[(u32, u32)]) -> impl Iterator<Item = &[(u32, u32)]> {
    std::iter::from_fn(move || {
        let independent = |end: &usize| {
            let (from, _) = moves[*end];
            moves[..*end].iter().all(|&(_, to)| to != from)
        };
        let most = moves.len().min(MOST_MOVES);
        let len = (0..most).take_while(independent).count();
        let (group, rest) = moves.split_at(len);
        moves = rest;
        (len > 0).then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel that reads 8 rows at once leaves in slots that hold their own numbers.
    fn moved_in_groups(moves: &[(u32, u32)], num_slots: u32) -> Vec<u32> {
        let mut slots: Vec<u32> = (0..num_slots).collect();
        for group in groups(moves) {
            assert!(group.len() <= MOST_MOVES);
            for some in group.chunks(8) {
                let read: Vec<u32> = some.iter().map(|&(from, _)| slots[from as usize]).collect();
                for (&(_, to), value) in some.iter().zip(read) {
                    slots[to as usize] = value;
                }
            }
        }
        slots
    }

    #[test]
    fn moves_in_groups_are_moves_in_order() {
        let path: Vec<_> = (0..100).map(|i| (100 + 2 * i, 100 + i)).collect();
        let chain: Vec<_> = (0..20).map(|i| (i, i + 1)).collect();
        // Moves, groups.
        let cases: [(&[(u32, u32)], usize); 6] = [
            (&[], 0),
            (&[(3, 3)], 1),
            (&[(5, 1), (11, 5)], 1),
            (&[(1, 2), (2, 3), (9, 2)], 2),
            (&path, 2),
            (&chain, 20),
        ];
        for (moves, num_groups) in cases {
            let mut in_order: Vec<u32> = (0..300).collect();
            for &(from, to) in moves {
                in_order[to as usize] = in_order[from as usize];
            }
            assert_eq!(moved_in_groups(moves, 300), in_order, "{moves:?}");
            assert_eq!(groups(moves).count(), num_groups, "{moves:?}");
        }
    }
}
