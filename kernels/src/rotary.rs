//! `rotate`: rotary position embedding, in place.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::places::Places;
use crate::rows::{Element, Rows, matrix, with_element};

/// Turns the first `num_heads` heads of each row by the angles of the row's position.
///
/// Element i of a head's first half pairs with element i of its second half, as Hugging Face's checkpoints expect.
/// `x`: `[rows, width]` of any dtype with `num_heads * head_dim <= width`; `cos`, `sin`:
/// `[positions, head_dim / 2]` in float32; `positions`: `[rows]`.
pub fn rotate<'a>(
    x: &Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: impl Into<Places<'a, usize>>,
    num_heads: usize,
) -> Result<()> {
    x.inplace_op3(
        cos,
        sin,
        &Rotate {
            positions: positions.into(),
            num_heads,
        },
    )
}

struct Rotate<'a> {
    positions: Places<'a, usize>,
    num_heads: usize,
}

impl Rotate<'_> {
    fn check(&self, x: &Layout, cos: &Layout, sin: &Layout) -> Result<()> {
        let (num_rows, width, _) = matrix(x)?;
        let ((num_positions, half, _), sin) = (matrix(cos)?, matrix(sin)?);
        let positions = self.positions.values();
        if (num_positions, half) != (sin.0, sin.1) {
            bail!(
                "rotate: {num_positions}x{half} cosines and {}x{} sines",
                sin.0,
                sin.1
            );
        }
        if num_rows != positions.len() || self.num_heads * 2 * half > width {
            bail!(
                "rotate: {num_rows} rows of {width} for {} positions and {} heads of {}",
                positions.len(),
                self.num_heads,
                2 * half
            );
        }
        check_positions(positions, num_positions)
    }
}

/// Checks that there are angles for all positions.
pub(crate) fn check_positions(positions: &[usize], num_positions: usize) -> Result<()> {
    match positions
        .iter()
        .find(|&&position| position >= num_positions)
    {
        Some(position) => {
            bail!("rotate: position {position}, but angles for {num_positions} positions")
        }
        None => Ok(()),
    }
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
        self.check(xl, cl, sl)?;
        let (_, _, stride) = matrix(xl)?;
        let (cos, sin) = (Rows::<f32>::new(cos, cl)?, Rows::<f32>::new(sin, sl)?);
        let half = cos.width;
        with_element!(x.dtype(), T, {
            let x = &mut T::slice_mut(x)?[xl.start_offset()..];
            for (row, &position) in self.positions.values().iter().enumerate() {
                let heads = &mut x[row * stride..][..self.num_heads * 2 * half];
                for head in heads.chunks_exact_mut(2 * half) {
                    turn(head, cos.row(position), sin.row(position));
                }
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &mut candle_core::CudaStorage,
        xl: &Layout,
        cos: &candle_core::CudaStorage,
        cl: &Layout,
        sin: &candle_core::CudaStorage,
        sl: &Layout,
    ) -> Result<()> {
        self.check(xl, cl, sl)?;
        crate::cuda::rotate(
            (x, xl),
            (cos, cl),
            (sin, sl),
            self.positions,
            self.num_heads,
        )
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
