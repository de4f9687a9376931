//! `silu_mul`: the gated activation of the feed-forward.

#![expect(unsafe_code, reason = "threads write disjoint rows")]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use crate::math::exp;
use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, output, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// `y = silu(gate) * up`, where each row of `x` holds first the gate, then as much of up; silu(g) = g / (1 + e^-g).
///
/// `x`: `[rows, 2 * width]`, `y`: `[rows, width]`, of one dtype; computed in float32 and rounded once.
pub fn silu_mul(x: &Tensor, y: &Tensor) -> Result<()> {
    y.inplace_op2(x, &SiluMul)
}

struct SiluMul;

impl InplaceOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, yl: &Layout, x: &CpuStorage, xl: &Layout) -> Result<()> {
        with_element!(x.dtype(), T, {
            let x = Rows::<T>::new(x, xl)?;
            if x.width % 2 != 0 {
                bail!("silu_mul: rows of odd width {}", x.width);
            }
            let y = output::<T>(y, yl, (x.num_rows, x.width / 2))?;
            let y = Disjoint::new(y);
            split(x.num_rows, 1, 8 * x.num_rows * x.width, |rows| {
                dispatch(Gate { x, rows, y: &y });
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
    ) -> Result<()> {
        crate::cuda::silu_mul(y, yl, x, xl)
    }
}

struct Gate<'a, T> {
    x: Rows<'a, T>,
    rows: Range<usize>,
    y: &'a Disjoint<T>,
}

impl<T: Element> Kernel for Gate<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let width = self.x.width / 2;
        for row in self.rows {
            let (gate, up) = self.x.row(row).split_at(width);
            // SAFETY: rows are dealt out to threads without overlap.
            let y = unsafe { self.y.write(row * width, width) };
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                let gate = gate.widen();
                *y = T::narrow(gate / (1.0 + exp(-gate)) * up.widen());
            }
        }
    }
}
