//! `linear`: rows times a weight matrix transposed.
//!
//! Each output is one dot product, summed lane by lane over the input in rising order, then across the lanes: the
//! order depends on the input width and the processor alone. Blocks of rows and outputs only share loads.

#![expect(
    unsafe_code,
    reason = "the inner loop reads through pointers and threads write disjoint columns"
)]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, WithDType, bail};

use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, with_element};
use crate::simd::{Kernel, Vector, dispatch, padded};

/// `x` times `weight` transposed, accumulated in float32.
///
/// `x`: `[rows, in]`, `weight`: `[out, in]`, both float32 or both bfloat16. Gives `[rows, out]` of `out_dtype`.
pub fn linear(
    x: &Tensor,      // [rows, in]
    weight: &Tensor, // [out, in]
    out_dtype: DType,
) -> Result<Tensor> {
    x.apply_op2_no_bwd(weight, &Linear { out_dtype })
}

struct Linear {
    out_dtype: DType,
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_element!(w.dtype(), T, {
            let (x, w) = (Rows::<T>::new(x, xl)?, Rows::<T>::new(w, wl)?);
            if x.width != w.width {
                bail!(
                    "linear: rows of {} inputs, weights for {}",
                    x.width,
                    w.width
                );
            }
            let shape = Shape::from((x.num_rows, w.num_rows));
            let y = with_element!(
                self.out_dtype,
                U,
                U::to_cpu_storage_owned(product::<T, U>(x, w))
            );
            Ok((y, shape))
        })
    }
}

fn product<T: Element, U: Element>(x: Rows<'_, T>, w: Rows<'_, T>) -> Vec<U> {
    let (num_rows, num_outputs) = (x.num_rows, w.num_rows);
    let mut wide = Vec::with_capacity(num_rows * x.width);
    for row in 0..num_rows {
        wide.extend(x.row(row).iter().map(|value| value.widen()));
    }
    let mut y = vec![U::default(); num_rows * num_outputs];
    let out = Disjoint::new(&mut y);
    split(
        num_outputs,
        OUTPUTS,
        num_rows * num_outputs * x.width,
        |outputs| {
            dispatch(Block {
                x: &wide,
                w,
                outputs,
                out: &out,
            });
        },
    );
    y
}

/// Outputs that share the loads of a row.
const OUTPUTS: usize = 4;

/// The columns `outputs` of the product.
struct Block<'a, T, U> {
    x: &'a [f32],
    w: Rows<'a, T>,
    outputs: Range<usize>,
    out: &'a Disjoint<U>,
}

impl<T: Element, U: Element> Kernel for Block<'_, T, U> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let num_rows = self.x.len().checked_div(self.w.width).unwrap_or(0);
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let count = OUTPUTS.min(self.outputs.end - first);
            let mut row = 0;
            while row < num_rows {
                row += match num_rows - row {
                    6.. => self.tile::<V, 6>(row, first, count),
                    4.. => self.tile::<V, 4>(row, first, count),
                    2.. => self.tile::<V, 2>(row, first, count),
                    _ => self.tile::<V, 1>(row, first, count),
                };
            }
            first += count;
        }
    }
}

impl<T: Element, U: Element> Block<'_, T, U> {
    /// `R` rows by `OUTPUTS` outputs; where fewer than `OUTPUTS` are left, the last one is computed again and again.
    #[inline(always)]
    fn tile<V: Vector, const R: usize>(&self, row: usize, first: usize, count: usize) -> usize {
        let width = self.w.width;
        let x: [&[f32]; R] = std::array::from_fn(|r| &self.x[(row + r) * width..][..width]);
        let w: [&[T]; OUTPUTS] = std::array::from_fn(|o| self.w.row(first + o.min(count - 1)));
        let mut sums = [[V::zero(); OUTPUTS]; R];
        let whole = width - width % V::LANES;
        for at in (0..whole).step_by(V::LANES) {
            // SAFETY: `at + LANES <= width`, the length of every row.
            unsafe {
                step(
                    &mut sums,
                    &x.map(|x| x.as_ptr().add(at)),
                    &w.map(|w| w.as_ptr().add(at)),
                )
            }
        }
        if whole < width {
            let x = x.map(|x| padded(&x[whole..]));
            let w = w.map(|w| padded(&w[whole..]));
            // SAFETY: padded to as many lanes as any vector has.
            unsafe {
                step(
                    &mut sums,
                    &std::array::from_fn(|r| x[r].as_ptr()),
                    &std::array::from_fn(|o| w[o].as_ptr()),
                )
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: in this product, these columns are this thread's.
            let out = unsafe {
                self.out
                    .write((row + r) * self.num_outputs() + first, count)
            };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = U::narrow(sum.sum());
            }
        }
        R
    }

    #[inline(always)]
    fn num_outputs(&self) -> usize {
        self.w.num_rows
    }
}

/// One vector's worth of every dot product of a tile.
///
/// # Safety
/// `V::LANES` elements from each pointer on are readable.
#[inline(always)]
unsafe fn step<V: Vector, T: Element, const R: usize>(
    sums: &mut [[V; OUTPUTS]; R],
    x: &[*const f32; R],
    w: &[*const T; OUTPUTS],
) {
    // SAFETY: the caller's promise.
    let w: [V; OUTPUTS] = w.map(|w| unsafe { T::load(w) });
    for (sums, &x) in sums.iter_mut().zip(x) {
        // SAFETY: the caller's promise.
        let x = unsafe { V::load(x) };
        for (sum, &w) in sums.iter_mut().zip(&w) {
            *sum = sum.mul_add(x, w);
        }
    }
}
