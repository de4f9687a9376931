//! How the device draws: what its kernels take.

use super::{LogitChange, RowSampling};
use crate::launch::Launch;

/// Tokens that the kernels' order of candidates has room for, and their search for the k-th of them is quick with.
#[cfg(feature = "cuda")]
pub(crate) const MOST_TOKENS: usize = 1 << 22;

/// `RowSampling`, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    position: u64,
    key: [u32; 2],
    temperature: f32,
    ln_min_p: f32,
    top_k: u32,
    top_p: f32,
}

impl From<&RowSampling> for Row {
    fn from(row: &RowSampling) -> Self {
        Self {
            position: row.position as u64,
            key: row.noise.key(),
            temperature: row.temperature,
            ln_min_p: row.ln_min_p(),
            top_k: row.top_k,
            top_p: row.top_p,
        }
    }
}

impl Row {
    /// Its bytes, as an upload takes them.
    #[cfg(feature = "cuda")]
    pub(crate) fn words(&self) -> [u32; 8] {
        [
            self.position as u32,
            (self.position >> 32) as u32,
            self.key[0],
            self.key[1],
            self.temperature.to_bits(),
            self.ln_min_p.to_bits(),
            self.top_k,
            self.top_p.to_bits(),
        ]
    }
}

#[cfg(feature = "cuda")]
impl LogitChange {
    /// Its bytes, as an upload takes them.
    pub(crate) fn words(&self) -> [u32; 6] {
        [
            self.row,
            self.token,
            self.bias.to_bits(),
            self.repetition.to_bits(),
            self.frequency.to_bits(),
            self.presence.to_bits(),
        ]
    }
}

/// The argument of `sample_rows`. Addresses are the device's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) logits: u64,
    pub(crate) rows: u64,
    pub(crate) tokens: u64,
    pub(crate) stride: i64,
    pub(crate) vocab: u32,
    pub(crate) unused: u32,
}

/// The argument of `change_logits`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeArgs {
    pub(crate) logits: u64,
    pub(crate) changes: u64,
    pub(crate) stride: i64,
    pub(crate) num_changes: u32,
    pub(crate) unused: u32,
}

const _: () = assert!(size_of::<Row>() == 32 && size_of::<LogitChange>() == 24);

/// A block for each row.
pub(crate) fn sample(num_rows: usize) -> Launch {
    Launch {
        kernel: "sample_rows",
        grid: [num_rows as u32, 1, 1],
        threads: 1024,
        shared_bytes: 0,
    }
}

/// A thread for each change.
pub(crate) fn change(num_changes: usize) -> Launch {
    const THREADS: usize = 256;
    Launch {
        kernel: "change_logits",
        grid: [num_changes.div_ceil(THREADS) as u32, 1, 1],
        threads: THREADS as u32,
        shared_bytes: 0,
    }
}
