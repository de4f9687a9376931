//! `paged_attention`: softmax attention of a flat batch of rows over keys and values in a paged cache.
//!
//! A row gathers its keys by position, so it does the same arithmetic wherever they lie: in one block or many,
//! committed or in a draft tree, written this step or long ago. Keys are gone through in spans of [`SPAN`] positions
//! counted from the sequence's start; sums go in rising order of position.

#[cfg(any(test, feature = "cuda"))]
pub(crate) mod args;
mod keys;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod plan;
mod planned;
mod scratch;
mod softmax;
mod unit;
mod values;

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::linear::weight::Float;
use crate::paging::Paging;
use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, output, with_element};
use crate::simd::dispatch;
pub use planned::Planned;
use unit::Attend;
pub(crate) use unit::Shape;

/// Positions whose scores are taken together.
const SPAN: usize = 64;

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
            let shape = self.shape((q.num_rows, q.width), (cache.num_rows, cache.width))?;
            let y = output::<T>(y, yl, (q.num_rows, q.width))?;
            self.attend(q, cache, shape, y);
            Ok(())
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &mut candle_core::CudaStorage,
        yl: &Layout,
        q: &candle_core::CudaStorage,
        ql: &Layout,
        cache: &candle_core::CudaStorage,
        cl: &Layout,
    ) -> Result<()> {
        let shape = self.shape(ql.shape().dims2()?, cl.shape().dims2()?)?;
        crate::cuda::paged_attention((y, yl), (q, ql), (cache, cl), self.paging, shape)
    }
}

impl PagedAttention<'_> {
    /// The heads that queries of `(rows, width)` and a cache of `(slots, width)` have, if both fit the batch.
    fn shape(
        &self,
        (num_rows, q_width): (usize, usize),
        (num_slots, cache_width): (usize, usize),
    ) -> Result<Shape> {
        let head_dim = self.head_dim.max(1);
        let (kv_heads, heads) = (cache_width / (2 * head_dim), q_width / head_dim);
        if kv_heads * 2 * self.head_dim != cache_width
            || heads * self.head_dim != q_width
            || kv_heads == 0
            || !heads.is_multiple_of(kv_heads)
        {
            bail!(
                "queries of width {q_width} and a cache of width {cache_width} for heads of {}",
                self.head_dim
            );
        }
        if num_rows != self.paging.num_rows() {
            bail!(
                "{num_rows} rows of queries for {} positions",
                self.paging.num_rows()
            );
        }
        self.paging.check(num_slots)?;
        Ok(Shape {
            head_dim,
            kv_heads,
            group: heads / kv_heads,
        })
    }

    fn attend<T: Element + Float>(
        &self,
        q: Rows<'_, T>,
        cache: Rows<'_, T>,
        shape: Shape,
        y: &mut [T],
    ) {
        let units = units(self.paging, shape);
        let num_keys: usize = units.iter().map(|unit| unit.num_keys).sum();
        let out = Disjoint::new(y);
        let cost = 2 * num_keys * shape.group * self.head_dim;
        split(units.len(), 1, cost, |range| {
            dispatch(Attend {
                paging: self.paging,
                shape,
                q,
                cache,
                units: &units[range],
                out: &out,
            });
        });
    }
}

/// A few rows of one sequence and the query heads that share one head of keys and values.
#[derive(Clone, Debug)]
struct Unit {
    rows: Range<usize>,
    kv_head: usize,
    /// Keys that the rows see, summed over the rows.
    num_keys: usize,
}

/// Most rows of a unit: they share what is loaded of keys and values.
const UNIT: usize = 16;

/// Cuts the batch into units.
fn units(paging: &Paging, shape: Shape) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut start = 0;
    while start < paging.num_rows() {
        let same_seq = |row: &usize| paging.seqs[*row] == paging.seqs[start];
        let end = start
            + (start..paging.num_rows())
                .take(UNIT)
                .take_while(same_seq)
                .count();
        let num_keys = paging.positions[start..end]
            .iter()
            .map(|position| position + 1)
            .sum();
        units.extend((0..shape.kv_heads).map(|kv_head| Unit {
            rows: start..end,
            kv_head,
            num_keys,
        }));
        start = end;
    }
    units
}
