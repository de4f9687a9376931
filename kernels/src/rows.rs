//! Tensors as rows: the view that every CPU implementation works on.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, WithDType, bail};
use half::bf16;

use crate::simd::Vector;

/// A number type that rows are stored in; arithmetic is done in `f32`.
pub(crate) trait Element: WithDType + Default {
    fn widen(self) -> f32;
    fn narrow(value: f32) -> Self;
    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]>;

    /// Loads a vector's lanes.
    ///
    /// # Safety
    /// `V::LANES` elements from `data` on are readable, and the processor has `V`'s instructions.
    #[expect(unsafe_code, reason = "vector loads read through pointers")]
    unsafe fn load<V: Vector>(data: *const Self) -> V;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::F32(data) => Ok(data),
            other => bail!("expected float32 storage, found {:?}", other.dtype()),
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "vector loads read through pointers")]
    unsafe fn load<V: Vector>(data: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(data) }
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        // To the nearest, of two equally near ones to the even; without a branch, so that loops become vectors.
        let bits = value.to_bits();
        let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        Self::from_bits(if value.is_nan() { quiet } else { nearest } as u16)
    }

    fn slice_mut(storage: &mut CpuStorage) -> Result<&mut [Self]> {
        match storage {
            CpuStorage::BF16(data) => Ok(data),
            other => bail!("expected bfloat16 storage, found {:?}", other.dtype()),
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "vector loads read through pointers")]
    unsafe fn load<V: Vector>(data: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16(data) }
    }
}

/// A matrix whose rows are contiguous, apart by `stride` elements.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    data: &'a [T],
    stride: usize,
    pub(crate) num_rows: usize,
    pub(crate) width: usize,
}

impl<'a, T: Element> Rows<'a, T> {
    /// Views storage as `[rows, width]`.
    pub(crate) fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (num_rows, width, stride) = matrix(layout)?;
        Ok(Self {
            data: &storage.as_slice::<T>()?[layout.start_offset()..],
            stride,
            num_rows,
            width,
        })
    }

    /// Row i starts at `i * stride`.
    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }

    /// Elements between the beginnings of two rows.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.stride..][..self.width]
    }
}

/// The buffer that an op writes: contiguous, `[num_rows, width]`.
pub(crate) fn output<'a, T: Element>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    (num_rows, width): (usize, usize),
) -> Result<&'a mut [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "expected a contiguous output, found strides {:?}",
            layout.stride()
        );
    };
    if layout.dims() != [num_rows, width] {
        bail!(
            "an output of {:?} for {num_rows} rows of {width}",
            layout.dims()
        );
    }
    Ok(&mut T::slice_mut(storage)?[start..end])
}

/// Rows, width, and stride between rows of a matrix whose rows are contiguous.
pub(crate) fn matrix(layout: &Layout) -> Result<(usize, usize, usize)> {
    let (num_rows, width) = layout.shape().dims2()?;
    match *layout.stride() {
        [stride, step] if step == 1 || width <= 1 => Ok((num_rows, width, stride)),
        _ => bail!(
            "expected contiguous rows, found strides {:?}",
            layout.stride()
        ),
    }
}

/// Runs `$body` with `$t` standing for the element type that a tensor of `$dtype` holds.
macro_rules! with_element {
    ($dtype:expr, $t:ident, $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            other => candle_core::bail!("expected float32 or bfloat16, found {other:?}"),
        }
    };
}
pub(crate) use with_element;
