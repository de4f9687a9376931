//! What weights may be held in, and how a vector multiplies groups of them.

#![expect(unsafe_code, reason = "vector loads read through pointers")]

use std::cell::Cell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, bail};
use half::bf16;

use super::PANEL;
use super::int8::Finish;
use crate::rows::{Element, Rows};
use crate::simd::Vector;

/// A number type that weights and the rows they meet are held in for the product.
pub(crate) trait Weight: Copy + Default + Send + Sync + 'static {
    /// Inputs that are multiplied together, in one lane.
    const GROUP: usize;
    /// What packed rows are filled up to whole multiples of: groups, and 64 bytes where there are tiles of as many.
    const FILL: usize;
    /// A group of weights in each lane.
    type Groups<V: Vector>: Copy;
    /// One group of a row in every lane.
    type Splat<V: Vector>: Copy;
    /// A sum in each lane.
    type Sums<V: Vector>: Copy;
    /// What makes results of sums.
    type Finish<'a>: Sync;

    fn slice(storage: &CpuStorage) -> Result<&[Self]>;

    /// # Safety
    /// `GROUP * V::LANES` elements from `data` on are readable.
    unsafe fn load_groups<V: Vector>(data: *const Self) -> Self::Groups<V>;

    /// # Safety
    /// `GROUP` elements from `data` on are readable.
    unsafe fn splat_group<V: Vector>(data: *const Self) -> Self::Splat<V>;

    fn zero<V: Vector>() -> Self::Sums<V>;

    /// `sums` plus the products of two groups, lane by lane.
    fn add_products<V: Vector>(
        sums: Self::Sums<V>,
        x: Self::Splat<V>,
        w: Self::Groups<V>,
    ) -> Self::Sums<V>;

    /// The results of a row's outputs from `first` on.
    fn finish<V: Vector>(
        finish: &Self::Finish<'_>,
        row: usize,
        first: usize,
        sums: Self::Sums<V>,
    ) -> [f32; PANEL];
}

/// Weights whose sums are the results.
pub(crate) trait Float: for<'a> Weight<Finish<'a> = ()> {}

impl<T: for<'a> Weight<Finish<'a> = ()>> Float for T {}

impl Weight for f32 {
    const GROUP: usize = 1;
    const FILL: usize = 1;
    type Groups<V: Vector> = V;
    type Splat<V: Vector> = V;
    type Sums<V: Vector> = V;
    type Finish<'a> = ();

    fn slice(storage: &CpuStorage) -> Result<&[Self]> {
        storage.as_slice()
    }

    #[inline(always)]
    unsafe fn load_groups<V: Vector>(data: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(data) }
    }

    #[inline(always)]
    unsafe fn splat_group<V: Vector>(data: *const Self) -> V {
        // SAFETY: the caller's promise.
        V::splat(unsafe { *data })
    }

    #[inline(always)]
    fn zero<V: Vector>() -> V {
        V::zero()
    }

    #[inline(always)]
    fn add_products<V: Vector>(sums: V, x: V, w: V) -> V {
        sums.mul_add(x, w)
    }

    #[inline(always)]
    fn finish<V: Vector>((): &(), _: usize, _: usize, sums: V) -> [f32; PANEL] {
        lanes(sums)
    }
}

impl Weight for bf16 {
    const GROUP: usize = 2;
    const FILL: usize = 32;
    type Groups<V: Vector> = V::Pairs;
    type Splat<V: Vector> = V::Pairs;
    type Sums<V: Vector> = V;
    type Finish<'a> = ();

    fn slice(storage: &CpuStorage) -> Result<&[Self]> {
        storage.as_slice()
    }

    #[inline(always)]
    unsafe fn load_groups<V: Vector>(data: *const Self) -> V::Pairs {
        // SAFETY: the caller's promise.
        unsafe { V::load_pairs(data) }
    }

    #[inline(always)]
    unsafe fn splat_group<V: Vector>(data: *const Self) -> V::Pairs {
        // SAFETY: the caller's promise.
        V::splat_pair(unsafe { data.cast::<[Self; 2]>().read() })
    }

    #[inline(always)]
    fn zero<V: Vector>() -> V {
        V::zero()
    }

    #[inline(always)]
    fn add_products<V: Vector>(sums: V, x: V::Pairs, w: V::Pairs) -> V {
        sums.add_products(x, w)
    }

    #[inline(always)]
    fn finish<V: Vector>((): &(), _: usize, _: usize, sums: V) -> [f32; PANEL] {
        lanes(sums)
    }
}

impl Weight for i8 {
    const GROUP: usize = 4;
    const FILL: usize = 64;
    type Groups<V: Vector> = V::Quads;
    type Splat<V: Vector> = V::SplatQuad;
    type Sums<V: Vector> = V::Ints;
    type Finish<'a> = Finish<'a>;

    fn slice(storage: &CpuStorage) -> Result<&[Self]> {
        match storage {
            // SAFETY: both are bytes.
            CpuStorage::U8(bytes) => {
                Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
            }
            other => bail!("expected bytes, found {:?}", other.dtype()),
        }
    }

    #[inline(always)]
    unsafe fn load_groups<V: Vector>(data: *const Self) -> V::Quads {
        // SAFETY: the caller's promise.
        unsafe { V::load_quads(data) }
    }

    #[inline(always)]
    unsafe fn splat_group<V: Vector>(data: *const Self) -> V::SplatQuad {
        // SAFETY: the caller's promise.
        V::splat_quad(unsafe { data.cast::<[Self; 4]>().read() })
    }

    #[inline(always)]
    fn zero<V: Vector>() -> V::Ints {
        V::zero_ints()
    }

    #[inline(always)]
    fn add_products<V: Vector>(sums: V::Ints, x: V::SplatQuad, w: V::Quads) -> V::Ints {
        V::add_quads(sums, x, w)
    }

    #[inline(always)]
    fn finish<V: Vector>(
        finish: &Finish<'_>,
        row: usize,
        first: usize,
        sums: V::Ints,
    ) -> [f32; PANEL] {
        let mut whole = [0; PANEL];
        // SAFETY: no vector has more lanes than a panel.
        unsafe { V::store_ints(sums, whole.as_mut_ptr()) };
        finish.lanes::<V>(row, first, whole)
    }
}

#[inline(always)]
fn lanes<V: Vector>(sums: V) -> [f32; PANEL] {
    let mut lanes = [0.0; PANEL];
    // SAFETY: no vector has more lanes than a panel.
    unsafe { sums.store(lanes.as_mut_ptr()) };
    lanes
}

/// Runs `work` on the rows with their width filled up with zeros, as packed weights are.
pub(crate) fn with_filled<T: Element + Weight, R>(
    x: Rows<'_, T>,
    work: impl FnOnce(Filled<'_, T>) -> R,
) -> R {
    let width = x.width.next_multiple_of(T::FILL);
    if width == x.width {
        return work(Filled {
            data: x.data(),
            stride: x.stride(),
            num_rows: x.num_rows,
            width,
        });
    }
    // Odd widths are no model's, so their copy may cost an allocation.
    let mut data = vec![T::default(); x.num_rows * width];
    for (row, filled) in data.chunks_exact_mut(width).enumerate() {
        filled[..x.width].copy_from_slice(x.row(row));
    }
    work(Filled {
        data: &data,
        stride: width,
        num_rows: x.num_rows,
        width,
    })
}

/// Rows that are as wide as packed weights.
#[derive(Clone, Copy)]
pub(crate) struct Filled<'a, T> {
    /// Row i starts at `i * stride`.
    pub(crate) data: &'a [T],
    pub(crate) stride: usize,
    pub(crate) num_rows: usize,
    pub(crate) width: usize,
}

/// A buffer that a thread keeps from product to product.
pub(crate) struct Kept<T: 'static>(pub(crate) &'static std::thread::LocalKey<Cell<Vec<T>>>);

impl<T: Copy + Default> Kept<T> {
    /// Runs `work` on `len` elements of any value. While it runs, others that ask get a buffer of their own.
    pub(crate) fn with<R>(&self, len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
        let mut buffer = self.0.take();
        if buffer.len() < len {
            buffer.resize(len, T::default());
        }
        let result = work(&mut buffer[..len]);
        self.0.set(buffer);
        result
    }
}
