//! What the kernels that only pass over memory take: the structs of `kernels/cuda/`. Addresses are the device's.

use crate::kv::MOST_MOVES;

/// `Args` of add.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Add {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) y_stride: i64,
    pub(crate) width: u32,
}

/// `Args` of silu_mul.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct SiluMul {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) x_stride: i64,
    pub(crate) width: u32,
}

/// `Args` of gather_silu.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct GatherSilu {
    pub(crate) table: u64,
    pub(crate) rows: u64,
    pub(crate) y: u64,
    pub(crate) table_stride: i64,
    pub(crate) width: u32,
}

/// `Args` of rms_norm.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RmsNorm {
    pub(crate) x: u64,
    pub(crate) weight: u64,
    pub(crate) y: u64,
    pub(crate) x_stride: i64,
    pub(crate) width: u32,
    pub(crate) eps: f32,
}

/// `Args` of rotary.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Rotate {
    pub(crate) x: u64,
    pub(crate) cos: u64,
    pub(crate) sin: u64,
    pub(crate) positions: u64,
    pub(crate) x_stride: i64,
    pub(crate) cos_stride: i64,
    pub(crate) sin_stride: i64,
    pub(crate) num_heads: u32,
    pub(crate) half: u32,
}

/// `WriteArgs` of kv.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct WriteKv {
    pub(crate) cache: u64,
    pub(crate) rows: u64,
    pub(crate) slots: u64,
    pub(crate) cache_stride: i64,
    pub(crate) rows_stride: i64,
    pub(crate) num_slots: u32,
    pub(crate) width: u32,
}

/// `MoveArgs` of kv.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct MoveKv {
    pub(crate) cache: u64,
    pub(crate) cache_stride: i64,
    pub(crate) width: u32,
    num_moves: u32,
    moves: [[u32; 2]; MOST_MOVES],
}

impl MoveKv {
    /// Moves of one group, see `kv::groups`.
    pub(crate) fn new(cache: u64, cache_stride: i64, width: u32, group: &[(u32, u32)]) -> Self {
        let mut moves = [[0; 2]; MOST_MOVES];
        for (slots, &(from, to)) in moves.iter_mut().zip(group) {
            *slots = [from, to];
        }
        Self {
            cache,
            cache_stride,
            width,
            num_moves: group.len() as u32,
            moves,
        }
    }
}

/// `Args` of linear_rows.cu.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct LinearRows {
    pub(crate) weight: u64,
    pub(crate) scales: u64,
    pub(crate) indices: u64,
    pub(crate) y: u64,
    pub(crate) width: u32,
}
