//! `gather_silu`: what some tokens together make of tables of their projections.

#![expect(unsafe_code, reason = "threads write disjoint rows")]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use crate::math::exp;
use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, matrix, output, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// `y = silu(first part of row a + second part of row b + third part of row c)`, for each row's `[a, b, c]`.
///
/// `table`: `[entries, 3 * width]`, `y`: `[rows, width]`, of one dtype; computed in float32 and rounded once.
pub fn gather_silu(table: &Tensor, rows: &[[u32; PARTS]], y: &Tensor) -> Result<()> {
    y.inplace_op2(table, &GatherSilu { rows })
}

/// Entries that meet in a row.
pub(crate) const PARTS: usize = 3;

struct GatherSilu<'a> {
    rows: &'a [[u32; PARTS]],
}

impl GatherSilu<'_> {
    /// Columns of a part, if the table has every entry that is named.
    fn width(&self, table: &Layout) -> Result<usize> {
        let (num_entries, width, _) = matrix(table)?;
        if !width.is_multiple_of(PARTS) {
            bail!("gather_silu: a table of {width} columns, which are no {PARTS} parts");
        }
        let mut named = self.rows.iter().flatten();
        if let Some(entry) = named.find(|&&entry| entry as usize >= num_entries) {
            bail!("gather_silu: entry {entry} of a table of {num_entries}");
        }
        Ok(width / PARTS)
    }
}

impl InplaceOp2 for GatherSilu<'_> {
    fn name(&self) -> &'static str {
        "gather_silu"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, yl: &Layout, t: &CpuStorage, tl: &Layout) -> Result<()> {
        let width = self.width(tl)?;
        with_element!(t.dtype(), T, {
            let table = Rows::<T>::new(t, tl)?;
            let num_rows = self.rows.len();
            let y = output::<T>(y, yl, (num_rows, width))?;
            let y = Disjoint::new(y);
            split(num_rows, 1, 8 * num_rows * width, |range| {
                dispatch(Sum {
                    table,
                    rows: &self.rows[range.clone()],
                    range,
                    y: &y,
                });
            });
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &mut candle_core::CudaStorage,
        yl: &Layout,
        t: &candle_core::CudaStorage,
        tl: &Layout,
    ) -> Result<()> {
        let width = self.width(tl)?;
        crate::cuda::gather_silu((y, yl), (t, tl), self.rows, width)
    }
}

struct Sum<'a, T> {
    table: Rows<'a, T>,
    rows: &'a [[u32; PARTS]],
    range: Range<usize>,
    y: &'a Disjoint<T>,
}

impl<T: Element> Kernel for Sum<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let width = self.table.width / PARTS;
        for (row, &[a, b, c]) in self.range.zip(self.rows) {
            let part =
                |entry: u32, part: usize| &self.table.row(entry as usize)[part * width..][..width];
            let parts = part(a, 0).iter().zip(part(b, 1)).zip(part(c, 2));
            // SAFETY: rows are dealt out to threads without overlap.
            let y = unsafe { self.y.write(row * width, width) };
            for (y, ((a, b), c)) in y.iter_mut().zip(parts) {
                let sum = a.widen() + b.widen() + c.widen();
                *y = T::narrow(sum / (1.0 + exp(-sum)));
            }
        }
    }
}
