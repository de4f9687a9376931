//! How the device's attention is launched.

use candle_core::{DType, Result, bail};

use super::plan::{Item, Plan, Row};
use super::unit::Shape;
use crate::launch::Launch;

/// Warps of a block.
const WARPS: u32 = 4;

/// Keys of a span.
const SPAN: u32 = super::SPAN as u32;

/// Dimensions that a thread of the plain kernel keeps sums of.
const PLAIN_HEAD_DIM: usize = 8 * 32 * WARPS as usize;

/// The kernels' argument. Addresses are the device's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) q: u64,
    pub(crate) cache: u64,
    pub(crate) y: u64,
    pub(crate) partials: u64,
    pub(crate) num_items: u64,
    pub(crate) items: u64,
    pub(crate) rows: u64,
    pub(crate) blocks: u64,
    pub(crate) q_stride: i64,
    pub(crate) cache_stride: i64,
    pub(crate) block_size: u32,
    pub(crate) kv_heads: u32,
    pub(crate) group: u32,
    pub(crate) head_dim: u32,
    pub(crate) scale: f32,
    pub(crate) num_rows: u32,
}

const _: () =
    assert!(size_of::<Item>() == 16 && size_of::<Row>() == 32 && size_of::<Args>() == 104);

/// Which kernel computes attention: for one dtype, one size of heads and one number of heads to a group it is always
/// the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kernel {
    /// Tensor cores, for heads filled up with zeros to `dim` and blocks of `num_queries`.
    Tiles { dim: usize, num_queries: usize },
    /// Row by row.
    Plain { dtype: DType },
}

impl Kernel {
    /// `is_aligned` says whether heads begin on multiples of 16 bytes.
    pub(crate) fn new(dtype: DType, shape: Shape, is_aligned: bool) -> Result<Self> {
        let Shape {
            head_dim, group, ..
        } = shape;
        let dim = [64, 96, 128, 256].into_iter().find(|&dim| head_dim <= dim);
        match (dtype, dim) {
            (DType::BF16, Some(dim)) if is_aligned && head_dim.is_multiple_of(8) => {
                let num_queries = if dim == 256 { 32 } else { 64 };
                if group <= num_queries {
                    return Ok(Self::Tiles { dim, num_queries });
                }
            }
            _ => {}
        }
        if head_dim > PLAIN_HEAD_DIM {
            bail!(
                "heads of {head_dim} dimensions, where the device's attention takes {PLAIN_HEAD_DIM}"
            );
        }
        Ok(Self::Plain { dtype })
    }

    /// Queries that a block has room for.
    pub(crate) fn num_queries(self) -> usize {
        match self {
            Self::Tiles { num_queries, .. } => num_queries,
            Self::Plain { .. } => 64,
        }
    }

    /// Numbers that the plan's partial sums consist of.
    pub(crate) fn partials_len(self, plan: &Plan, shape: Shape) -> usize {
        match self {
            Self::Tiles { .. } => {
                plan.num_partials * shape.kv_heads * shape.group * (2 + shape.head_dim)
            }
            Self::Plain { .. } => 0,
        }
    }

    /// True if partial sums are left to be added up.
    pub(crate) fn folds(self, plan: &Plan) -> bool {
        plan.folds && matches!(self, Self::Tiles { .. })
    }

    /// The launch that computes a plan.
    pub(crate) fn launch(self, shape: Shape, plan: &Plan) -> Launch {
        let kv_heads = shape.kv_heads as u32;
        let (kernel, grid, shared_bytes) = match self {
            Self::Tiles { dim, num_queries } => (
                match dim {
                    64 => "paged_attention_64",
                    96 => "paged_attention_96",
                    128 => "paged_attention_128",
                    _ => "paged_attention_256",
                },
                [plan.num_blocks as u32, kv_heads, 1],
                shared_bytes(dim as u32, num_queries as u32),
            ),
            Self::Plain { dtype } => (
                match dtype {
                    DType::F32 => "paged_attention_float32",
                    _ => "paged_attention_bfloat16",
                },
                [plan.rows.len() as u32, kv_heads * shape.group as u32, 1],
                0,
            ),
        };
        Launch {
            kernel,
            grid,
            threads: 32 * WARPS,
            shared_bytes,
        }
    }

    /// The launch that adds partial sums up.
    pub(crate) fn fold(shape: Shape, num_rows: usize) -> Launch {
        Launch {
            kernel: "paged_attention_fold",
            grid: [num_rows as u32, (shape.kv_heads * shape.group) as u32, 1],
            threads: 32 * WARPS,
            shared_bytes: 0,
        }
    }
}

/// The size of the kernel's `Shared`.
const fn shared_bytes(dim: u32, num_queries: u32) -> u32 {
    let elements = (num_queries + 4 * SPAN) * (dim + 8) + num_queries * (SPAN + 8);
    let sums = 2 * WARPS * num_queries * 4;
    let slots = 2 * SPAN * 8;
    let rows = num_queries * (size_of::<Row>() as u32 + 1);
    (2 * elements + sums + slots + rows).next_multiple_of(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_follows_from_dtype_and_heads() {
        let cases = [
            (DType::BF16, 128, 4, Some("paged_attention_128")),
            (DType::BF16, 80, 1, Some("paged_attention_96")),
            (DType::BF16, 8, 2, Some("paged_attention_64")),
            (DType::BF16, 256, 8, Some("paged_attention_256")),
            (DType::BF16, 60, 1, Some("paged_attention_bfloat16")),
            (DType::BF16, 64, 71, Some("paged_attention_bfloat16")),
            (DType::F32, 128, 4, Some("paged_attention_float32")),
            (DType::F32, 2048, 1, None),
        ];
        for (dtype, head_dim, group, want) in cases {
            let shape = Shape {
                head_dim,
                kv_heads: 2,
                group,
            };
            let plan = Plan::default();
            let kernel =
                Kernel::new(dtype, shape, true).map(|kernel| kernel.launch(shape, &plan).kernel);
            assert_eq!(kernel.ok(), want, "{dtype:?} {head_dim} {group}");
        }
    }

    #[test]
    fn two_blocks_fit_a_processor() {
        const SHARED: u32 = 227 << 10;
        for (dim, num_queries, blocks) in [(64, 64, 2), (96, 64, 2), (128, 64, 2), (256, 32, 1)] {
            assert!(
                blocks * (shared_bytes(dim, num_queries) + 1024) <= SHARED,
                "{dim}"
            );
        }
    }
}
