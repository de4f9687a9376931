//! `silu_mul`: the gated activation of the feed-forward.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, bail};

use crate::math::exp;
use crate::rows::{Element, Rows, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// `silu(gate) * up`, where each row of `x` holds first the gate, then as much of up; silu(g) = g / (1 + e^-g).
///
/// `x`: `[rows, 2 * width]`. Gives `[rows, width]`, computed in float32 and rounded once.
pub fn silu_mul(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&SiluMul)
}

struct SiluMul;

impl CustomOp1 for SiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_element!(x.dtype(), T, {
            let x = Rows::<T>::new(x, layout)?;
            if x.width % 2 != 0 {
                bail!("silu_mul: rows of odd width {}", x.width);
            }
            let mut y = vec![T::default(); x.num_rows * x.width / 2];
            dispatch(Gate { x, y: &mut y });
            Ok((
                T::to_cpu_storage_owned(y),
                Shape::from((x.num_rows, x.width / 2)),
            ))
        })
    }
}

struct Gate<'a, T> {
    x: Rows<'a, T>,
    y: &'a mut [T],
}

impl<T: Element> Kernel for Gate<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let width = self.x.width / 2;
        for (row, y) in self.y.chunks_exact_mut(width.max(1)).enumerate() {
            let (gate, up) = self.x.row(row).split_at(width);
            for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
                let gate = gate.widen();
                *y = T::narrow(gate / (1.0 + exp(-gate)) * up.widen());
            }
        }
    }
}
