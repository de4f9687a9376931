//! `paged_attention`: softmax attention of a flat batch of rows over keys and values in a paged cache.
//!
//! A row gathers its keys by position, so it does the same arithmetic wherever they lie: in one block or many,
//! committed or in a draft tree, written this step or long ago. Scores, exponentials and sums go in rising order of
//! position.

#![expect(
    unsafe_code,
    reason = "the inner loops read through pointers and threads write disjoint rows"
)]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::math::exp;
use crate::paging::Paging;
use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, output, with_element};
use crate::simd::{Kernel, Vector, dispatch, padded};

/// Attention with `heads` query heads over as many or fewer (grouped) heads of keys and values.
///
/// `q`, `y`: `[rows, heads * head_dim]`, `cache`: `[slots, 2 * kv_heads * head_dim]`, in each slot the keys of all
/// heads, then the values, all of one dtype. Scores are divided by the root of `head_dim`.
pub fn paged_attention(
    q: &Tensor,     // [rows, heads * head_dim]
    cache: &Tensor, // [slots, 2 * kv_heads * head_dim]
    paging: &Paging,
    head_dim: usize,
    y: &Tensor, // [rows, heads * head_dim]
) -> Result<()> {
    y.inplace_op3(q, cache, &PagedAttention { paging, head_dim })
}

struct PagedAttention<'a> {
    paging: &'a Paging,
    head_dim: usize,
}

impl InplaceOp3 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        "paged_attention"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        q: &CpuStorage,
        ql: &Layout,
        cache: &CpuStorage,
        cl: &Layout,
    ) -> Result<()> {
        with_element!(q.dtype(), T, {
            let (q, cache) = (Rows::<T>::new(q, ql)?, Rows::<T>::new(cache, cl)?);
            self.check(&q, &cache)?;
            let y = output::<T>(y, yl, (q.num_rows, q.width))?;
            self.attend(q, cache, y);
            Ok(())
        })
    }
}

impl PagedAttention<'_> {
    fn check<T: Element>(&self, q: &Rows<'_, T>, cache: &Rows<'_, T>) -> Result<()> {
        let head_dim = self.head_dim.max(1);
        let (kv_heads, heads) = (cache.width / (2 * head_dim), q.width / head_dim);
        if kv_heads * 2 * self.head_dim != cache.width
            || heads * self.head_dim != q.width
            || kv_heads == 0
            || !heads.is_multiple_of(kv_heads)
        {
            bail!(
                "queries of width {} and a cache of width {} for heads of {}",
                q.width,
                cache.width,
                self.head_dim
            );
        }
        if q.num_rows != self.paging.num_rows() {
            bail!(
                "{} rows of queries for {} positions",
                q.num_rows,
                self.paging.num_rows()
            );
        }
        self.paging.check(cache.num_rows)
    }

    fn attend<T: Element>(&self, q: Rows<'_, T>, cache: Rows<'_, T>, y: &mut [T]) {
        let kv_width = cache.width / 2;
        let out = Disjoint::new(y);
        let num_keys: usize = self
            .paging
            .positions
            .iter()
            .map(|position| position + 1)
            .sum();
        split(q.num_rows, 1, 2 * num_keys * q.width, |rows| {
            dispatch(Attend {
                paging: self.paging,
                head_dim: self.head_dim,
                q,
                k: cache.columns(0, kv_width),
                v: cache.columns(kv_width, kv_width),
                rows,
                out: &out,
            });
        });
    }
}

/// The attention of the rows `rows`.
struct Attend<'a, T> {
    paging: &'a Paging,
    head_dim: usize,
    q: Rows<'a, T>,
    k: Rows<'a, T>,
    v: Rows<'a, T>,
    rows: Range<usize>,
    out: &'a Disjoint<T>,
}

impl<T: Element> Kernel for Attend<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut slots = Vec::new();
        let mut scores = Vec::new();
        let mut sums = vec![0.0; self.head_dim];
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        for row in self.rows.clone() {
            self.paging.slots(row, &mut slots);
            let q: Vec<f32> = self.q.row(row).iter().map(|value| value.widen()).collect();
            // SAFETY: rows are dealt out to threads without overlap.
            let out = unsafe { self.out.write(row * q.len(), q.len()) };
            let group = self.q.width / self.k.width;
            for (head, q) in q.chunks_exact(self.head_dim).enumerate() {
                let first = head / group * self.head_dim;
                self.score::<V>(q, first, scale, &slots, &mut scores);
                let total = softmax::<V>(&mut scores);
                self.mix::<V>(first, &slots, &scores, &mut sums);
                for (out, sum) in out[head * self.head_dim..].iter_mut().zip(&sums) {
                    *out = T::narrow(sum / total);
                }
            }
        }
    }
}

impl<T: Element> Attend<'_, T> {
    /// Scaled products of one query head with the key of every slot.
    #[inline(always)]
    fn score<V: Vector>(
        &self,
        q: &[f32],
        first: usize,
        scale: f32,
        slots: &[u32],
        scores: &mut Vec<f32>,
    ) {
        scores.resize(slots.len(), 0.0);
        // A plain loop: a closure would not be compiled with the vector's instructions.
        for (score, &slot) in scores.iter_mut().zip(slots) {
            let key = &self.k.row(slot as usize)[first..first + q.len()];
            *score = dot::<V, T>(q, key) * scale;
        }
    }

    /// The values of all slots, weighted and added up in order.
    #[inline(always)]
    fn mix<V: Vector>(&self, first: usize, slots: &[u32], weights: &[f32], sums: &mut [f32]) {
        let whole = sums.len() - sums.len() % V::LANES;
        let mut at = 0;
        while at < whole {
            at += match (whole - at) / V::LANES {
                4.. => self.mix_part::<V, 4>(first, at, slots, weights, sums),
                _ => self.mix_part::<V, 1>(first, at, slots, weights, sums),
            };
        }
        for (at, sum) in sums.iter_mut().enumerate().skip(whole) {
            *sum = 0.0;
            for (&slot, &weight) in slots.iter().zip(weights) {
                *sum += weight * self.v.row(slot as usize)[first + at].widen();
            }
        }
    }

    /// `P` vectors of a head side by side, because each addition waits for the one before it.
    #[inline(always)]
    fn mix_part<V: Vector, const P: usize>(
        &self,
        first: usize,
        at: usize,
        slots: &[u32],
        weights: &[f32],
        out: &mut [f32],
    ) -> usize {
        let mut sums = [V::zero(); P];
        for (&slot, &weight) in slots.iter().zip(weights) {
            let value = &self.v.row(slot as usize)[first + at..][..P * V::LANES];
            let weight = V::splat(weight);
            for (p, sum) in sums.iter_mut().enumerate() {
                // SAFETY: sliced to `P` vectors.
                *sum = sum.mul_add(weight, unsafe { T::load(value.as_ptr().add(p * V::LANES)) });
            }
        }
        let out = &mut out[at..][..P * V::LANES];
        for (p, sum) in sums.into_iter().enumerate() {
            // SAFETY: sliced to `P` vectors.
            unsafe { sum.store(out.as_mut_ptr().add(p * V::LANES)) };
        }
        P * V::LANES
    }
}

/// Replaces scores by e^(score - largest) and gives their sum.
#[inline(always)]
fn softmax<V: Vector>(scores: &mut [f32]) -> f32 {
    let mut largest = f32::NEG_INFINITY;
    for &score in &*scores {
        largest = if score > largest { score } else { largest };
    }
    for score in &mut *scores {
        *score = exp(*score - largest);
    }
    let mut sum = V::zero();
    let one = V::splat(1.0);
    let whole = scores.len() - scores.len() % V::LANES;
    for chunk in scores[..whole].chunks_exact(V::LANES) {
        // SAFETY: chunks are as long as the vector.
        sum = sum.mul_add(unsafe { V::load(chunk.as_ptr()) }, one);
    }
    // SAFETY: padded to as many lanes as any vector has.
    sum.mul_add(unsafe { V::load(padded(&scores[whole..]).as_ptr()) }, one)
        .sum()
}

#[inline(always)]
fn dot<V: Vector, T: Element>(x: &[f32], w: &[T]) -> f32 {
    let mut sum = V::zero();
    let whole = x.len() - x.len() % V::LANES;
    for at in (0..whole).step_by(V::LANES) {
        // SAFETY: both are as long as `x`, and `at + LANES <= whole`.
        sum = unsafe { sum.mul_add(V::load(x.as_ptr().add(at)), T::load(w.as_ptr().add(at))) };
    }
    if whole < x.len() {
        let (x, w) = (padded(&x[whole..]), padded(&w[whole..]));
        // SAFETY: padded to as many lanes as any vector has.
        sum = unsafe { sum.mul_add(V::load(x.as_ptr()), T::load(w.as_ptr())) };
    }
    sum.sum()
}
