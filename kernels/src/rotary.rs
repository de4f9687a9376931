//! `rotate`: rotary position embedding, in place.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::rows::{Element, Rows, matrix, with_element};

/// Turns the first `num_heads` heads of each row by the angles of the row's position.
///
/// Element i of a head's first half pairs with element i of its second half, as Hugging Face's checkpoints expect.
/// `x`: `[rows, width]` of any dtype with `num_heads * head_dim <= width`; `cos`, `sin`:
/// `[positions, head_dim / 2]` in float32; `positions`: `[rows]`.
pub fn rotate(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: &[usize],
    num_heads: usize,
) -> Result<()> {
    x.inplace_op3(
        cos,
        sin,
        &Rotate {
            positions,
            num_heads,
        },
    )
}

struct Rotate<'a> {
    positions: &'a [usize],
    num_heads: usize,
}

impl InplaceOp3 for Rotate<'_> {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        xl: &Layout,
        cos: &CpuStorage,
        cl: &Layout,
        sin: &CpuStorage,
        sl: &Layout,
    ) -> Result<()> {
        let (num_rows, width, stride) = matrix(xl)?;
        let (cos, sin) = (Rows::<f32>::new(cos, cl)?, Rows::<f32>::new(sin, sl)?);
        let half = cos.width;
        if num_rows != self.positions.len() || self.num_heads * 2 * half > width {
            bail!(
                "rotate: {num_rows} rows of {width} for {} positions and {} heads of {}",
                self.positions.len(),
                self.num_heads,
                2 * half
            );
        }
        if let Some(position) = self
            .positions
            .iter()
            .find(|&&position| position >= cos.num_rows.min(sin.num_rows))
        {
            bail!(
                "rotate: position {position}, but angles for {} positions",
                cos.num_rows
            );
        }
        with_element!(x.dtype(), T, {
            let x = &mut T::slice_mut(x)?[xl.start_offset()..];
            for (row, &position) in self.positions.iter().enumerate() {
                let heads = &mut x[row * stride..][..self.num_heads * 2 * half];
                for head in heads.chunks_exact_mut(2 * half) {
                    turn(head, cos.row(position), sin.row(position));
                }
            }
        });
        Ok(())
    }
}

fn turn<T: Element>(head: &mut [T], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (x, y) = (a.widen(), b.widen());
        *a = T::narrow(x * cos - y * sin);
        *b = T::narrow(y * cos + x * sin);
    }
}
