//! The innermost loop: a few rows by a few panels, whose sums stay in registers.

#![expect(unsafe_code, reason = "the loop reads through pointers")]

use super::PANEL;
use super::weight::Weight;
use crate::simd::{Vector, prefetch};

/// Where to fetch from, and how much further with each group of inputs; no further than the first line if that is 0.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<T> {
    pub(crate) data: *const T,
    pub(crate) per_group: usize,
}

/// Sums of `R` rows' products with `N` vectors of outputs, `parts` of each panel.
///
/// Plain loops, because a closure would not be compiled with the vector's instructions.
///
/// # Safety
/// `x` holds `R` rows of `width` elements apart by its stride, `w` as many groups of `PANEL * GROUP` elements in each of
/// `N / parts` panels apart by its stride, and `width` is a multiple of `GROUP`.
#[inline(always)]
pub(crate) unsafe fn sums<T: Weight, V: Vector, const R: usize, const N: usize>(
    (x, x_stride): (*const T, usize),
    (mut w, w_stride, parts): (*const T, usize, usize),
    width: usize,
    ahead: Ahead<T>,
) -> [[T::Sums<V>; N]; R] {
    let mut sums = [[T::zero::<V>(); N]; R];
    let mut next = ahead.data;
    for input in (0..width).step_by(T::GROUP) {
        prefetch(next);
        prefetch(next.wrapping_add(PANEL * T::GROUP));
        next = next.wrapping_add(ahead.per_group);
        // SAFETY: the caller's promise.
        unsafe {
            let mut weights = [T::load_groups::<V>(w); N];
            for (n, weights) in weights.iter_mut().enumerate() {
                let part = n % parts * V::LANES * T::GROUP;
                *weights = T::load_groups::<V>(w.add(n / parts * w_stride + part));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = T::splat_group::<V>(x.add(r * x_stride + input));
                for (sum, &weights) in sums.iter_mut().zip(&weights) {
                    *sum = T::add_products::<V>(*sum, x, weights);
                }
            }
        }
        w = w.wrapping_add(PANEL * T::GROUP);
    }
    sums
}
