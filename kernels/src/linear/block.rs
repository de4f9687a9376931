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

/// Rows of a product whose arithmetic takes about as long as the reading of its weights.
const FREE_ROWS: usize = 6;

/// Panels of the widest tile.
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
    let cost = x.num_rows.max(FREE_ROWS) * num_outputs * x.width;
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
        // As many sums as there are registers for, beside the weights and a row's input. Groups that vectors take apart
        // lie in twice as many. Wide tiles read more streams of weights at once, which a few rows wait for, and rows for
        // more weights at once; tall ones read weights once for more rows.
        let apart = T::GROUP > 1 && !V::PRODUCTS;
        match (V::LANES, self.x.num_rows) {
            (16, 7..=12) => self.tiles::<V, 2, 12>(),
            (16, 13..) if apart => self.tiles::<V, 2, 12>(),
            (16, _) => self.tiles::<V, 4, 6>(),
            (8, 0..=2) => self.tiles::<V, 4, 2>(),
            (8, _) if apart => self.tiles::<V, 2, 4>(),
            (8, _) => self.tiles::<V, 2, 6>(),
            _ if apart => self.tiles::<V, 4, 4>(),
            _ => self.tiles::<V, 4, 6>(),
        }
    }
}

impl<T: Weight, U: Element> Block<'_, '_, T, U> {
    /// Everything, in tiles of at most `R` rows by `N` vectors of outputs.
    #[inline(always)]
    fn tiles<V: Vector, const N: usize, const R: usize>(&self) {
        let mut panel = self.range.start;
        while panel < self.range.end {
            let left = self.range.end - panel;
            panel += match PANEL / V::LANES {
                parts if N <= left * parts => self.rows::<V, N, R>(panel),
                1 => self.rows::<V, 1, R>(panel),
                2 => self.rows::<V, 2, R>(panel),
                _ => self.rows::<V, 4, R>(panel),
            };
        }
    }

    /// All rows by `N` vectors of outputs, in tiles as equal as can be.
    #[inline(always)]
    fn rows<V: Vector, const N: usize, const MOST: usize>(&self, panel: usize) -> usize {
        let num_tiles = self.x.num_rows.div_ceil(MOST).max(1);
        let mut row = 0;
        for tile in 0..num_tiles {
            let end = self.x.num_rows * (tile + 1) / num_tiles;
            let ahead = self.ahead(panel, N * V::LANES / PANEL, tile);
            match end - row {
                12 if MOST >= 12 => self.tile::<V, 12, N>(row, panel, ahead),
                11 if MOST >= 11 => self.tile::<V, 11, N>(row, panel, ahead),
                10 if MOST >= 10 => self.tile::<V, 10, N>(row, panel, ahead),
                9 if MOST >= 9 => self.tile::<V, 9, N>(row, panel, ahead),
                8 if MOST >= 8 => self.tile::<V, 8, N>(row, panel, ahead),
                7 if MOST >= 7 => self.tile::<V, 7, N>(row, panel, ahead),
                6 if MOST >= 6 => self.tile::<V, 6, N>(row, panel, ahead),
                5 if MOST >= 5 => self.tile::<V, 5, N>(row, panel, ahead),
                4 if MOST >= 4 => self.tile::<V, 4, N>(row, panel, ahead),
                3 if MOST >= 3 => self.tile::<V, 3, N>(row, panel, ahead),
                2 => self.tile::<V, 2, N>(row, panel, ahead),
                1 => self.tile::<V, 1, N>(row, panel, ahead),
                _ => {}
            }
            row = end;
        }
        N * V::LANES / PANEL
    }

    /// What a tile fetches beside its work: two lines of the next panels for each of its own. Without it memory would idle
    /// while later tiles multiply, and they would wait while the first one reads.
    #[inline(always)]
    fn ahead(&self, panel: usize, num_panels: usize, tile: usize) -> Ahead<T> {
        let len = self.x.width * PANEL;
        let here = self.panels[panel * len..].as_ptr();
        if 2 * tile < num_panels && panel + num_panels < self.range.end {
            return Ahead {
                data: here.wrapping_add((num_panels + 2 * tile) * len),
                per_group: num_panels.min(2) * PANEL * T::GROUP,
            };
        }
        Ahead {
            data: here,
            per_group: 0,
        }
    }

    /// `R` rows by `N` vectors of outputs.
    #[inline(always)]
    fn tile<V: Vector, const R: usize, const N: usize>(
        &self,
        row: usize,
        panel: usize,
        ahead: Ahead<T>,
    ) {
        let (width, stride) = (self.x.width, self.x.width * PANEL);
        // A panel is one vector of the widest kind, or several.
        let parts = PANEL / V::LANES;
        let x = &self.x.data[row * self.x.stride..][..(R - 1) * self.x.stride + width];
        let w = &self.panels[panel * stride..][..N / parts * stride];
        let (x, w) = ((x.as_ptr(), self.x.stride), (w.as_ptr(), stride, parts));
        // SAFETY: sliced to `R` rows and as many panels as `N` vectors are.
        let sums = unsafe { sums::<T, V, R, N>(x, w, width, ahead) };
        for (r, sums) in sums.into_iter().enumerate() {
            for (n, sums) in sums.into_iter().enumerate() {
                let first = panel * PANEL + n * V::LANES;
                let lanes = T::finish::<V>(self.finish, row + r, first, sums);
                self.store::<V>(row + r, first, lanes);
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
        // A length that is known is one store.
        match count == V::LANES {
            true => out.copy_from_slice(&narrow[..V::LANES]),
            false => out.copy_from_slice(&narrow[..count]),
        }
    }
}
