//! The product's loops: tiles of a few rows by a few panels, whose sums stay in registers.

#![expect(
    unsafe_code,
    reason = "the inner loop reads through pointers and threads write disjoint columns"
)]

use std::ops::Range;

use super::PANEL;
use super::tile::{Ahead, sums};
use super::weight::{Filled, Weight};
use crate::parallel::{Disjoint, split};
use crate::rows::Element;
use crate::simd::{Kernel, Vector, dispatch};

/// Rows of a tile.
const TILE: usize = 6;

/// Panels of a tile.
const BLOCK: usize = 4;

/// `y = x` times the panels.
pub(crate) fn multiply<T: Weight, U: Element>(
    x: Filled<'_, T>,
    panels: &[T],
    finish: &T::Finish<'_>,
    num_outputs: usize,
    y: &mut [U],
) {
    in_blocks(x, panels, finish, num_outputs, y, |block| dispatch(block));
}

/// Splits a product over threads by panels.
pub(crate) fn in_blocks<'a, 'f, T: Weight, U: Element>(
    x: Filled<'a, T>,
    panels: &'a [T],
    finish: &'a T::Finish<'f>,
    num_outputs: usize,
    y: &mut [U],
    work: impl Fn(Block<'_, 'f, T, U>) + Sync,
) {
    let out = Disjoint::new(y);
    // Weights have to be read for one row as for many.
    let cost = x.num_rows.max(TILE) * num_outputs * x.width;
    split(num_outputs.div_ceil(PANEL), BLOCK, cost, |range| {
        work(Block {
            x,
            panels,
            finish,
            num_outputs,
            range,
            out: &out,
        });
    });
}

/// The outputs of the panels `range`, for all rows.
pub(crate) struct Block<'a, 'f, T: Weight, U> {
    pub(crate) x: Filled<'a, T>,
    pub(crate) panels: &'a [T], // [panels, in / GROUP, PANEL * GROUP]
    pub(crate) finish: &'a T::Finish<'f>,
    num_outputs: usize,
    pub(crate) range: Range<usize>,
    out: &'a Disjoint<U>, // [rows, out]
}

impl<T: Weight, U: Element> Kernel for Block<'_, '_, T, U> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut panel = self.range.start;
        while panel < self.range.end {
            panel += match self.range.end - panel {
                BLOCK.. => self.rows::<V, BLOCK>(panel),
                _ => self.rows::<V, 1>(panel),
            };
        }
    }
}

impl<T: Weight, U: Element> Block<'_, '_, T, U> {
    /// All rows by `P` panels, in tiles as equal as can be.
    #[inline(always)]
    fn rows<V: Vector, const P: usize>(&self, panel: usize) -> usize {
        let num_tiles = self.x.num_rows.div_ceil(TILE).max(1);
        let mut row = 0;
        for tile in 0..num_tiles {
            let end = self.x.num_rows * (tile + 1) / num_tiles;
            let ahead = self.ahead::<P>(panel, tile);
            match end - row {
                6 => self.tile::<V, 6, P>(row, panel, ahead),
                5 => self.tile::<V, 5, P>(row, panel, ahead),
                4 => self.tile::<V, 4, P>(row, panel, ahead),
                3 => self.tile::<V, 3, P>(row, panel, ahead),
                2 => self.tile::<V, 2, P>(row, panel, ahead),
                1 => self.tile::<V, 1, P>(row, panel, ahead),
                _ => {}
            }
            row = end;
        }
        P
    }

    /// What a tile fetches beside its work: half of the next panels each of the first two. Without it memory would idle
    /// while later tiles multiply, and they would wait while the first one reads.
    #[inline(always)]
    fn ahead<const P: usize>(&self, panel: usize, tile: usize) -> Ahead<T> {
        let len = self.x.width * PANEL;
        let here = self.panels[panel * len..].as_ptr();
        match tile {
            0 | 1 if panel + P < self.range.end => Ahead {
                data: here.wrapping_add((2 * P + tile * P) * len / 2),
                per_group: PANEL * T::GROUP * P / 2,
            },
            _ => Ahead {
                data: here,
                per_group: 0,
            },
        }
    }

    /// `R` rows by `P` panels.
    #[inline(always)]
    fn tile<V: Vector, const R: usize, const P: usize>(
        &self,
        row: usize,
        panel: usize,
        ahead: Ahead<T>,
    ) {
        let (width, stride) = (self.x.width, self.x.width * PANEL);
        let x = &self.x.data[row * self.x.stride..][..(R - 1) * self.x.stride + width];
        let w = &self.panels[panel * stride..][..P * stride];
        // A panel is one vector of the widest kind, or several.
        for part in (0..PANEL).step_by(V::LANES) {
            let w = w[part * T::GROUP..].as_ptr();
            // SAFETY: sliced to `R` rows and `P` panels.
            let sums = unsafe {
                sums::<T, V, R, P>((x.as_ptr(), self.x.stride), (w, stride), width, ahead)
            };
            for (r, sums) in sums.into_iter().enumerate() {
                for (p, sums) in sums.into_iter().enumerate() {
                    let first = (panel + p) * PANEL + part;
                    let lanes = T::finish::<V>(self.finish, row + r, first, sums);
                    self.store::<V>(row + r, first, lanes);
                }
            }
        }
    }

    /// Writes the lanes that are outputs; the last panel may have fewer.
    #[inline(always)]
    pub(crate) fn store<V: Vector>(&self, row: usize, first: usize, lanes: [f32; PANEL]) {
        let count = V::LANES.min(self.num_outputs.saturating_sub(first));
        // SAFETY: in this product, these columns are this thread's.
        let out = unsafe {
            let first = first.min(self.num_outputs);
            self.out.write(row * self.num_outputs + first, count)
        };
        // A plain loop over all lanes is one vector's work.
        let mut narrow = [U::default(); PANEL];
        for (narrow, lane) in narrow.iter_mut().zip(lanes) {
            *narrow = U::narrow(lane);
        }
        match count == V::LANES {
            true => out.copy_from_slice(&narrow[..V::LANES]),
            false => out.copy_from_slice(&narrow[..count]),
        }
    }
}
