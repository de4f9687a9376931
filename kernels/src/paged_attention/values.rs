//! Values, weighted and added up in the order of their positions.

#![expect(
    unsafe_code,
    reason = "the inner loop reads and writes through pointers"
)]

use super::SPAN;
use crate::rows::{Element, Rows};
use crate::simd::Vector;

/// Values of one head, by place in the span.
pub(crate) struct Values<'a, T> {
    pub(crate) cache: Rows<'a, T>,
    pub(crate) first: usize,
    pub(crate) slots: &'a [u32],
    pub(crate) head_dim: usize,
}

impl<T: Element> Values<'_, T> {
    /// Adds weighted values to the sums of `R` queries.
    #[inline(always)]
    pub(crate) fn add<V: Vector, const R: usize>(
        &self,
        weights: &[[f32; SPAN]],
        sums: &mut [f32],
    ) -> usize {
        let whole = self.head_dim - self.head_dim % V::LANES;
        let mut at = 0;
        while at < whole {
            at += match (whole - at) / V::LANES {
                4.. => self.part::<V, R, 4>(at, weights, sums),
                _ => self.part::<V, R, 1>(at, weights, sums),
            };
        }
        for (r, weights) in weights[..R].iter().enumerate() {
            for d in whole..self.head_dim {
                let sum = &mut sums[r * self.head_dim + d];
                for (&slot, weight) in self.slots.iter().zip(weights) {
                    *sum += weight * self.cache.row(slot as usize)[self.first + d].widen();
                }
            }
        }
        R
    }

    /// `P` vectors of the head from `at` on, for `R` queries.
    #[inline(always)]
    fn part<V: Vector, const R: usize, const P: usize>(
        &self,
        at: usize,
        weights: &[[f32; SPAN]],
        sums: &mut [f32],
    ) -> usize {
        let weights = &weights[..R];
        let sums = &mut sums[at..][..(R - 1) * self.head_dim + P * V::LANES];
        // SAFETY: sums and values are sliced to what is read and written of them.
        unsafe {
            let mut totals = [[V::zero(); P]; R];
            for (r, totals) in totals.iter_mut().enumerate() {
                for (p, total) in totals.iter_mut().enumerate() {
                    *total = V::load(sums.as_ptr().add(r * self.head_dim + p * V::LANES));
                }
            }
            for (place, &slot) in self.slots.iter().enumerate() {
                let value = &self.cache.row(slot as usize)[self.first + at..][..P * V::LANES];
                let mut values = [V::zero(); P];
                for (p, values) in values.iter_mut().enumerate() {
                    *values = T::load(value.as_ptr().add(p * V::LANES));
                }
                for (weights, totals) in weights.iter().zip(&mut totals) {
                    let weight = V::splat(*weights.as_ptr().add(place % SPAN));
                    for (total, &value) in totals.iter_mut().zip(&values) {
                        *total = total.mul_add(weight, value);
                    }
                }
            }
            for (r, totals) in totals.into_iter().enumerate() {
                for (p, total) in totals.into_iter().enumerate() {
                    total.store(sums.as_mut_ptr().add(r * self.head_dim + p * V::LANES));
                }
            }
        }
        P * V::LANES
    }
}
