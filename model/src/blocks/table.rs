//! The blocks of one sequence.

use super::BlockId;

/// The blocks of one sequence: cached ones first, then private ones. Not `Clone`: a private block has one owner, a
/// cached one counts its tables.
#[derive(Debug, Default)]
pub struct BlockTable {
    pub(super) blocks: Vec<BlockId>,
    pub(super) num_cached: usize,
}

impl BlockTable {
    /// A table of no blocks, for those who have no cache.
    pub const EMPTY: &'static Self = &Self {
        blocks: Vec::new(),
        num_cached: 0,
    };

    /// Physical blocks in the order of the slots.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Where in the cache a slot of the sequence lies. Panics if the table does not reach so far.
    pub fn physical(&self, slot: usize, block_size: usize) -> u32 {
        self.blocks[slot / block_size] * block_size as u32 + (slot % block_size) as u32
    }

    /// The last of the cached blocks.
    pub(super) fn last_cached(&self) -> Option<BlockId> {
        self.blocks[..self.num_cached].last().copied()
    }
}
