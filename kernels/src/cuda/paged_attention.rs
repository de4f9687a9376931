//! Launches `paged_attention`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, bail};

use super::{Module, Rows, launch, module, output, scratch, shared};
use crate::paged_attention::Shape;
use crate::paged_attention::args::{Args, Kernel};
use crate::paged_attention::plan::Dealt;
use crate::paging::Paging;

static MODULE: Module = module!("paged_attention");

/// `PagedAttention::shape` has seen the widths and the slots.
pub(crate) fn paged_attention(
    (y, yl): (&mut CudaStorage, &Layout),
    (q, ql): (&CudaStorage, &Layout),
    (cache, cl): (&CudaStorage, &Layout),
    paging: &Paging,
    shape: Shape,
) -> Result<()> {
    let (q, cache) = (Rows::new(q, ql)?, Rows::new(cache, cl)?);
    if q.dtype != cache.dtype {
        bail!(
            "paged_attention: queries in {:?} for a cache in {:?}",
            q.dtype,
            cache.dtype
        );
    }
    let device = y.device().clone();
    let kernel = Kernel::new(q.dtype, shape, q.is_aligned() && cache.is_aligned())?;
    let dealt = paging.attention.of(paging, kernel, shape);
    let Dealt { plan, words, .. } = &*dealt;
    let start = shared(&device, words, || plan.words(&paging.block_tables))?;
    let partials = scratch(&device, kernel.partials_len(plan, shape))?;
    let at = |word: usize| start + (word * size_of::<u32>()) as u64;
    let args = Args {
        q: q.address,
        cache: cache.address,
        y: output(y, yl, q.dtype, (q.num_rows, q.width))?,
        partials: partials.address,
        num_items: at(0),
        items: at(plan.items_start()),
        rows: at(plan.rows_start()),
        blocks: at(plan.blocks_start()),
        q_stride: q.stride,
        cache_stride: cache.stride,
        block_size: paging.block_size as u32,
        kv_heads: shape.kv_heads as u32,
        group: shape.group as u32,
        head_dim: shape.head_dim as u32,
        scale: shape.scale(),
        num_rows: q.num_rows as u32,
    };
    let attend = kernel.launch(shape, plan);
    // SAFETY: every slot that a row may name lies in the cache, and partial sums have room.
    unsafe { launch(&device, &MODULE, attend, args) }?;
    if kernel.folds(plan) {
        let fold = Kernel::fold(shape, q.num_rows);
        // SAFETY: as above.
        unsafe { launch(&device, &MODULE, fold, args) }?;
    }
    Ok(())
}
