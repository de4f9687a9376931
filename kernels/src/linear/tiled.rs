//! The product in the tiles of a processor that has them.
//!
//! All tiles of one product have equally many rows, so some rows or panels may be computed twice, to the same bits: the
//! tiles' shape is set once, and no row meets other instructions than its neighbours.

#![expect(
    unsafe_code,
    reason = "tiles are read through pointers that slices were asked for"
)]

use half::bf16;

use super::PANEL;
use super::block::{Block, in_blocks};
use super::int8::Finish;
use super::weight::{Filled, Weight};
use crate::rows::Element;
use crate::simd::amx::{Dot, Sums, TILE, TILE_ROWS, Tiles};
use crate::simd::{Kernel, LINE, Vector, dispatch, has_tiles};

/// `y = x` times the panels, in tiles if the processor has them for this type.
pub(crate) fn multiply<T: InTiles, U: Element>(
    x: Filled<'_, T>,
    panels: &[T],
    finish: &T::Finish<'_>,
    num_outputs: usize,
    y: &mut [U],
) {
    match T::DOT {
        Some(dot) if has_tiles() => in_blocks(x, panels, finish, num_outputs, y, |block| {
            dispatch(Tiled { block, dot });
        }),
        _ => super::block::multiply(x, panels, finish, num_outputs, y),
    }
}

/// Weights that tiles may multiply.
pub(crate) trait InTiles: Weight {
    /// How they do, if they do.
    const DOT: Option<Dot>;

    /// The results of a row's outputs from `first` on, of a tile's sums.
    #[inline(always)]
    fn finish_sums<V: Vector>(
        _finish: &Self::Finish<'_>,
        _row: usize,
        _first: usize,
        sums: [u32; PANEL],
    ) -> [f32; PANEL] {
        sums.map(f32::from_bits)
    }
}

impl InTiles for f32 {
    const DOT: Option<Dot> = None;
}

impl InTiles for bf16 {
    const DOT: Option<Dot> = Some(Dot::Bf16);
}

impl InTiles for i8 {
    const DOT: Option<Dot> = Some(Dot::Int8);

    #[inline(always)]
    fn finish_sums<V: Vector>(
        finish: &Finish<'_>,
        row: usize,
        first: usize,
        sums: [u32; PANEL],
    ) -> [f32; PANEL] {
        finish.lanes::<V>(row, first, sums.map(|sum| sum as i32))
    }
}

/// A part of a product, by a processor that has tiles.
struct Tiled<'a, 'f, T: Weight, U> {
    block: Block<'a, 'f, T, U>,
    dot: Dot,
}

impl<T: InTiles, U: Element> Kernel for Tiled<'_, '_, T, U> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let num_rows = self.block.x.num_rows;
        match num_rows {
            0 => {}
            1..=TILE_ROWS => self.few::<V>(num_rows),
            // An even number of tiles, of the fewest rows that do.
            _ => {
                let num_pairs = num_rows.div_ceil(2 * TILE_ROWS);
                self.many::<V>(num_rows.div_ceil(2 * num_pairs), num_pairs);
            }
        }
    }
}

impl<T: InTiles, U: Element> Tiled<'_, '_, T, U> {
    /// One tile of rows.
    #[inline(always)]
    fn few<V: Vector>(&self, num_rows: usize) {
        let (tiles, mut sums) = (self.tiles(num_rows), zero());
        let x = self.rows(0, num_rows);
        for first in self.block.range.clone().step_by(4) {
            let mut panels = [first; 4];
            for (i, panel) in panels.iter_mut().enumerate() {
                *panel = (first + i).min(self.block.range.end - 1);
            }
            let w = panels.map(|panel| self.panel(panel));
            // SAFETY: all of `num_rows` rows and of each panel, whose widths are whole tiles.
            unsafe { tiles.one_by_four(x, w, &mut sums) };
            for (panel, sums) in panels.into_iter().zip(&sums.0) {
                self.store::<V>(0, panel, &sums[..num_rows]);
            }
        }
    }

    /// Pairs of tiles of rows.
    #[inline(always)]
    fn many<V: Vector>(&self, tile_rows: usize, num_pairs: usize) {
        let (tiles, mut sums) = (self.tiles(tile_rows), zero());
        let last_row = self.block.x.num_rows - tile_rows;
        let panel_len = self.depth() * TILE;
        for first in self.block.range.clone().step_by(2) {
            let panels = [first, (first + 1).min(self.block.range.end - 1)];
            let w = panels.map(|panel| self.panel(panel));
            for pair in 0..num_pairs {
                let rows = [2 * pair, 2 * pair + 1].map(|tile| (tile * tile_rows).min(last_row));
                let x = rows.map(|row| self.rows(row, tile_rows));
                // The next two panels are asked for by the first pair, or by the first two.
                let per_step = match pair {
                    0 | 1 => 2 * TILE / num_pairs.min(2),
                    _ => 0,
                };
                let next = 2 * panel_len + pair * per_step * self.depth();
                let next = (w[0].wrapping_add(next), per_step);
                // SAFETY: all of `tile_rows` rows twice and of each panel, whose widths are whole tiles.
                unsafe { tiles.two_by_two(x, w, next, &mut sums) };
                for (i, sums) in sums.0.iter().enumerate() {
                    self.store::<V>(rows[i / 2], panels[i % 2], &sums[..tile_rows]);
                }
            }
        }
    }

    /// Lines of a row.
    fn depth(&self) -> usize {
        size_of::<T>() * self.block.x.width / LINE
    }

    fn tiles(&self, num_rows: usize) -> Tiles {
        let stride = size_of::<T>() * self.block.x.stride;
        // SAFETY: `multiply` saw that the processor has tiles.
        unsafe { Tiles::new(self.dot, num_rows, stride, self.depth()) }
    }

    /// Where some rows begin that are all there.
    fn rows(&self, first: usize, count: usize) -> *const u8 {
        let x = self.block.x;
        x.data[first * x.stride..][..(count - 1) * x.stride + x.width]
            .as_ptr()
            .cast()
    }

    /// Where a panel begins that is all there.
    fn panel(&self, panel: usize) -> *const u8 {
        let len = self.block.x.width * PANEL;
        self.block.panels[panel * len..][..len].as_ptr().cast()
    }

    /// Writes what becomes of a tile's sums.
    #[inline(always)]
    fn store<V: Vector>(&self, first_row: usize, panel: usize, sums: &[[u32; PANEL]]) {
        for (row, sums) in (first_row..).zip(sums) {
            for part in (0..PANEL).step_by(V::LANES) {
                let mut lanes = [0; PANEL];
                lanes[..V::LANES].copy_from_slice(&sums[part..part + V::LANES]);
                let first = panel * PANEL + part;
                let lanes = T::finish_sums::<V>(self.block.finish, row, first, lanes);
                self.block.store::<V>(row, first, lanes);
            }
        }
    }
}

fn zero() -> Sums {
    Sums([[[0; TILE_ROWS]; TILE_ROWS]; 4])
}
