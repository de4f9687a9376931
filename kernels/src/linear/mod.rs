//! `Linear`: rows times a weight matrix transposed.
//!
//! The matrix is packed once at load into panels of [`PANEL`] outputs, whose weights for one group of inputs (one in
//! float32, two in bfloat16, four in int8) lie side by side: a vector's lanes are outputs, so each output is summed by
//! one lane over the inputs in rising order. That order depends on nothing but the input width; blocks of rows and
//! panels only share loads.

mod block;
mod int8;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod launches;
pub(crate) mod tile;
#[cfg(target_arch = "x86_64")]
mod tiled;
pub(crate) mod weight;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, Device, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor, bail,
};

use crate::rows::{Element, Rows, output, with_element};
use crate::simd::LINE;
#[cfg(not(target_arch = "x86_64"))]
use block::multiply;
use int8::{Int8Rows, Scales};
#[cfg(target_arch = "x86_64")]
use tiled::multiply;
use weight::Weight;

/// Outputs of a panel: the lanes of the widest vector.
pub(crate) const PANEL: usize = 16;

/// A weight matrix, packed.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[panels, in / GROUP, PANEL * GROUP]`, `in` filled up with zeros; on a GPU `[out, in]`. Int8 as unsigned bytes.
    matrix: Tensor,
    scales: Option<Scales>,
    num_inputs: usize,
    num_outputs: usize,
}

impl Linear {
    /// Packs a matrix of `[out, in]`, float32 or bfloat16.
    pub fn pack(weight: &Tensor) -> Result<Self> {
        Ok(Self {
            matrix: with_element!(weight.dtype(), T, packed::<T>(weight)?),
            scales: None,
            num_inputs: weight.dim(1)?,
            num_outputs: weight.dim(0)?,
        })
    }

    /// Rounds a matrix of `[out, in]` to int8, with a scale for each output, and packs it.
    ///
    /// Products round their rows to int8 too, with a scale for each row, so that sums are whole numbers: exact, and the
    /// same on every processor. With `s` for a largest magnitude over 127, a product differs from the unrounded one by
    /// at most `in * (s_x |w| + s_w |x| + s_x s_w / 2) / 2` for the largest magnitudes |x| and |w|.
    pub fn quantize(weight: &Tensor) -> Result<Self> {
        let (num_outputs, num_inputs) = weight.dims2()?;
        let (bytes, scales) = int8::quantize(weight)?;
        Ok(Self {
            matrix: packed::<i8>(&bytes)?,
            scales: Some(scales),
            num_inputs,
            num_outputs,
        })
    }

    /// `y = x` times the matrix transposed.
    ///
    /// `x`: `[rows, in]` of the matrix's dtype, or of any if it is int8; `y`: `[rows, out]` of any dtype. Accumulated in
    /// float32, in int8 exactly.
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        y.inplace_op3(x, &self.matrix, &Product(self))
    }

    /// `y =` the matrix's rows by index, as an embedding is read. `[indices, in]` of the matrix's dtype, or of any if it
    /// is int8.
    pub fn rows(&self, indices: &[u32], y: &Tensor) -> Result<()> {
        let gather = Gather {
            linear: self,
            indices,
        };
        y.inplace_op2(&self.matrix, &gather)
    }

    /// Bytes of a weight.
    pub fn weight_bytes(&self) -> usize {
        self.matrix.dtype().size_in_bytes()
    }
}

/// A matrix as this device's products read it.
fn packed<T: Weight>(weight: &Tensor) -> Result<Tensor> {
    match weight.device() {
        Device::Cuda(_) => weight.contiguous(),
        _ => panels::<T>(weight),
    }
}

/// `[out, in]` to `[panels, in / GROUP, PANEL * GROUP]`, filled up with zeros.
fn panels<T: Weight>(weight: &Tensor) -> Result<Tensor> {
    let (num_outputs, num_inputs) = weight.dims2()?;
    let (num_panels, width) = (
        num_outputs.div_ceil(PANEL),
        num_inputs.next_multiple_of(T::FILL),
    );
    let grouped = weight
        .pad_with_zeros(0, 0, num_panels * PANEL - num_outputs)?
        .pad_with_zeros(1, 0, width - num_inputs)?
        .reshape((num_panels, PANEL, width / T::GROUP, T::GROUP))?;
    aligned::<T>(&grouped.transpose(1, 2)?.flatten_all()?)?.reshape((
        num_panels,
        width / T::GROUP,
        PANEL * T::GROUP,
    ))
}

/// A copy that begins with a cache line, so that no vector lies across two.
fn aligned<T: Weight>(flat: &Tensor) -> Result<Tensor> {
    let len = flat.elem_count();
    let room = len + LINE / size_of::<T>();
    let copy = Tensor::zeros(room, flat.dtype(), flat.device())?;
    let skip = match &*copy.storage_and_layout().0 {
        Storage::Cpu(storage) => T::slice(storage)?.as_ptr().align_offset(LINE),
        _ => 0,
    };
    copy.slice_set(flat, 0, skip)?;
    copy.narrow(0, skip, len)
}

/// All elements of a packed matrix.
fn elements<'a, T: Weight>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let start = layout.start_offset();
    Ok(&T::slice(storage)?[start..start + layout.shape().elem_count()])
}

struct Product<'a>(&'a Linear);

impl InplaceOp3 for Product<'_> {
    fn name(&self) -> &'static str {
        "linear"
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
        let Linear {
            num_inputs,
            num_outputs,
            ..
        } = *self.0;
        with_element!(x.dtype(), T, {
            let x = Rows::<T>::new(x, xl)?;
            if x.width != num_inputs {
                bail!(
                    "linear: rows of {} inputs, weights for {num_inputs}",
                    x.width
                );
            }
            with_element!(y.dtype(), U, {
                let y = output::<U>(y, yl, (x.num_rows, num_outputs))?;
                match &self.0.scales {
                    None => weight::with_filled(x, |x| {
                        multiply(x, elements::<T>(w, wl)?, &(), num_outputs, y);
                        Ok(())
                    }),
                    Some(scales) => Int8Rows::with(x, |x, rows| {
                        let finish = scales.with_rows(rows);
                        multiply(x, elements::<i8>(w, wl)?, &finish, num_outputs, y);
                        Ok(())
                    }),
                }
            })
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
        if self.0.scales.is_some() {
            bail!("int8 weights are for the CPU so far; choose bfloat16 on CUDA");
        }
        crate::cuda::linear((y, yl), (x, xl), (w, wl))
    }
}

struct Gather<'a> {
    linear: &'a Linear,
    indices: &'a [u32],
}

impl Gather<'_> {
    /// Where a matrix row's groups lie, one after another.
    fn row<'a, T: Weight>(
        &self,
        elements: &'a [T],
        index: u32,
    ) -> Result<impl Iterator<Item = &'a T> + use<'a, T>> {
        let Linear {
            num_inputs,
            num_outputs,
            ..
        } = *self.linear;
        let index = index as usize;
        if index >= num_outputs {
            bail!("row {index} of a matrix of {num_outputs}");
        }
        let panel_len = num_inputs.next_multiple_of(T::FILL) * PANEL;
        let panel = &elements[index / PANEL * panel_len..][..panel_len];
        let lane = index % PANEL * T::GROUP;
        let groups = panel.chunks_exact(PANEL * T::GROUP);
        Ok(groups.flat_map(move |group| &group[lane..lane + T::GROUP]))
    }
}

impl InplaceOp2 for Gather<'_> {
    fn name(&self) -> &'static str {
        "linear-rows"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, yl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<()> {
        let num_inputs = self.linear.num_inputs;
        with_element!(y.dtype(), T, {
            let y = output::<T>(y, yl, (self.indices.len(), num_inputs))?;
            for (&index, y) in self.indices.iter().zip(y.chunks_exact_mut(num_inputs)) {
                match &self.linear.scales {
                    None => {
                        let row = self.row(elements::<T>(w, wl)?, index)?;
                        y.iter_mut().zip(row).for_each(|(y, &w)| *y = w);
                    }
                    Some(scales) => {
                        let row = self.row(elements::<i8>(w, wl)?, index)?;
                        let scale = scales.of_output(index as usize);
                        let wide = |(y, &w): (&mut T, &i8)| *y = T::narrow(f32::from(w) * scale);
                        y.iter_mut().zip(row).for_each(wide);
                    }
                }
            }
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &mut candle_core::CudaStorage,
        yl: &Layout,
        w: &candle_core::CudaStorage,
        wl: &Layout,
    ) -> Result<()> {
        let scales = match &self.linear.scales {
            Some(scales) => Some(scales.address(w.device())?),
            None => None,
        };
        crate::cuda::linear_rows((y, yl), (w, wl), scales, self.indices)
    }
}
