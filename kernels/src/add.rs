//! `add`: the residual stream takes in what a layer says.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType, bail};

use crate::rows::{Element, Rows, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// `x + y`, rounded once. Both `[rows, width]` of one dtype.
///
/// The tensor library's own addition wakes a spinning pool of its own threads, which costs more than it saves here.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.apply_op2_no_bwd(y, &Add)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        y: &CpuStorage,
        yl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_element!(x.dtype(), T, {
            let (x, y) = (Rows::<T>::new(x, xl)?, Rows::<T>::new(y, yl)?);
            if (x.num_rows, x.width) != (y.num_rows, y.width) {
                bail!(
                    "add: {}x{} and {}x{}",
                    x.num_rows,
                    x.width,
                    y.num_rows,
                    y.width
                );
            }
            let mut sums = vec![T::default(); x.num_rows * x.width];
            dispatch(Sum {
                x,
                y,
                sums: &mut sums,
            });
            Ok((
                T::to_cpu_storage_owned(sums),
                Shape::from((x.num_rows, x.width)),
            ))
        })
    }
}

struct Sum<'a, T> {
    x: Rows<'a, T>,
    y: Rows<'a, T>,
    sums: &'a mut [T],
}

impl<T: Element> Kernel for Sum<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        for (row, sums) in self.sums.chunks_exact_mut(self.x.width.max(1)).enumerate() {
            for ((sum, x), y) in sums.iter_mut().zip(self.x.row(row)).zip(self.y.row(row)) {
                *sum = T::narrow(x.widen() + y.widen());
            }
        }
    }
}
