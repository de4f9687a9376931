//! `add`: the residual stream takes in what a layer says.

#![expect(unsafe_code, reason = "threads write disjoint rows")]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, output, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// `x += y`, rounded once. Both `[rows, width]` of one dtype.
///
/// The tensor library's own addition wakes a spinning pool of its own threads, which costs more than it saves here.
pub fn add(x: &Tensor, y: &Tensor) -> Result<()> {
    x.inplace_op2(y, &Add)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, xl: &Layout, y: &CpuStorage, yl: &Layout) -> Result<()> {
        with_element!(y.dtype(), T, {
            let y = Rows::<T>::new(y, yl)?;
            let x = output::<T>(x, xl, (y.num_rows, y.width))?;
            let x = Disjoint::new(x);
            split(y.num_rows, 1, 4 * y.num_rows * y.width, |rows| {
                dispatch(Sum { y, rows, x: &x });
            });
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &mut candle_core::CudaStorage,
        xl: &Layout,
        y: &candle_core::CudaStorage,
        yl: &Layout,
    ) -> Result<()> {
        crate::cuda::add(x, xl, y, yl)
    }
}

struct Sum<'a, T> {
    y: Rows<'a, T>,
    rows: Range<usize>,
    x: &'a Disjoint<T>,
}

impl<T: Element> Kernel for Sum<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        for row in self.rows {
            // SAFETY: rows are dealt out to threads without overlap.
            let x = unsafe { self.x.write(row * self.y.width, self.y.width) };
            for (x, y) in x.iter_mut().zip(self.y.row(row)) {
                *x = T::narrow(x.widen() + y.widen());
            }
        }
    }
}
