//! `rms_norm`: each row over the root of its mean square, times a weight.

#![expect(
    unsafe_code,
    reason = "the inner loop reads through pointers and threads write disjoint rows"
)]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, output, with_element};
use crate::simd::{Kernel, Vector, dispatch, padded};

/// `y = x / sqrt(mean(x^2) + eps) * weight`, computed in float32 and rounded once.
///
/// `x`, `y`: `[rows, width]`, `weight`: `[1, width]`, of one dtype.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32, y: &Tensor) -> Result<()> {
    y.inplace_op3(x, weight, &RmsNorm { eps })
}

struct RmsNorm {
    eps: f32,
}

impl InplaceOp3 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<()> {
        with_element!(x.dtype(), T, {
            let (x, w) = (Rows::<T>::new(x, xl)?, Rows::<T>::new(w, wl)?);
            if w.width != x.width || w.num_rows != 1 {
                bail!(
                    "rms_norm: rows of {}, weights {}x{}",
                    x.width,
                    w.num_rows,
                    w.width
                );
            }
            let y = output::<T>(y, yl, (x.num_rows, x.width))?;
            let y = Disjoint::new(y);
            split(x.num_rows, 1, 4 * x.num_rows * x.width, |rows| {
                dispatch(Norm {
                    x,
                    w: w.row(0),
                    eps: self.eps,
                    rows,
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
        x: &candle_core::CudaStorage,
        xl: &Layout,
        w: &candle_core::CudaStorage,
        wl: &Layout,
    ) -> Result<()> {
        crate::cuda::rms_norm((y, yl), (x, xl), (w, wl), self.eps)
    }
}

struct Norm<'a, T> {
    x: Rows<'a, T>,
    w: &'a [T],
    eps: f32,
    rows: Range<usize>,
    y: &'a Disjoint<T>,
}

impl<T: Element> Kernel for Norm<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        for row in self.rows {
            let x = self.x.row(row);
            // SAFETY: rows are dealt out to threads without overlap.
            let y = unsafe { self.y.write(row * x.len(), x.len()) };
            let mean = square_sum::<V, T>(x) / x.len() as f32;
            let scale = 1.0 / (mean + self.eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(self.w) {
                *y = T::narrow(x.widen() * scale * w.widen());
            }
        }
    }
}

#[inline(always)]
fn square_sum<V: Vector, T: Element>(x: &[T]) -> f32 {
    let mut sum = V::zero();
    let chunks = x.chunks_exact(V::LANES);
    let rest = padded(chunks.remainder());
    for chunk in chunks {
        // SAFETY: chunks are as long as the vector.
        let x: V = unsafe { T::load(chunk.as_ptr()) };
        sum = sum.mul_add(x, x);
    }
    // SAFETY: padded to as many lanes as any vector has.
    let x: V = unsafe { T::load(rest.as_ptr()) };
    sum.mul_add(x, x).sum()
}
