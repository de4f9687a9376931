//! Who owns which part of the KV cache.
//!
//! - *block*: `block_size` slots of the cache, the unit that is owned;
//! - *slot*: room for one row's keys and values, in every layer;
//! - *block table*: the blocks of one sequence, in the order of its slots.

/// A block of the cache.
pub type BlockId = u32;

/// The blocks that nobody owns. free + those in tables = all.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<BlockId>,
    num_blocks: usize,
    block_size: usize,
}

/// The blocks of one sequence. Not `Clone`: a block has one owner.
#[derive(Debug, Default)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
}

impl BlockPool {
    /// `num_blocks` free blocks of `block_size` slots.
    pub fn new(num_blocks: usize, block_size: usize) -> Self {
        // Taken from the end: the lowest first.
        Self {
            free: (0..num_blocks as BlockId).rev().collect(),
            num_blocks,
            block_size,
        }
    }

    /// Blocks in all.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Blocks that nobody owns.
    pub fn num_free(&self) -> usize {
        self.free.len()
    }

    /// Slots of a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Gives `table` blocks until it has `num_slots` slots. False, and nothing given, if too few are free.
    #[must_use]
    pub fn grow(&mut self, table: &mut BlockTable, num_slots: usize) -> bool {
        let missing = num_slots
            .div_ceil(self.block_size)
            .saturating_sub(table.blocks.len());
        let Some(rest) = self.free.len().checked_sub(missing) else {
            return false;
        };
        table.blocks.extend(self.free.drain(rest..).rev());
        true
    }

    /// Takes a sequence's blocks back.
    pub fn release(&mut self, table: &mut BlockTable) {
        self.free.extend(table.blocks.drain(..).rev());
    }
}

impl BlockTable {
    /// Physical blocks in the order of the slots.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Where in the cache a slot of the sequence lies. Panics if the table does not reach so far.
    pub fn physical(&self, slot: usize, block_size: usize) -> u32 {
        self.blocks[slot / block_size] * block_size as u32 + (slot % block_size) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_block_has_one_owner(actions in prop::collection::vec((0usize..4, 0usize..80), 0..60)) {
            let mut pool = BlockPool::new(12, 4);
            let mut tables: [BlockTable; 4] = Default::default();
            for (which, num_slots) in actions {
                let before = (tables[which].blocks.clone(), pool.num_free());
                if num_slots == 0 {
                    pool.release(&mut tables[which]);
                } else if !pool.grow(&mut tables[which], num_slots) {
                    prop_assert_eq!((tables[which].blocks.clone(), pool.num_free()), before);
                } else {
                    prop_assert!(tables[which].blocks.len() * 4 >= num_slots);
                    prop_assert!(tables[which].blocks.starts_with(&before.0));
                }
                let mut owned: Vec<BlockId> = tables.iter().flat_map(|table| table.blocks.clone()).collect();
                owned.extend(&pool.free);
                owned.sort_unstable();
                prop_assert_eq!(owned, (0..12).collect::<Vec<_>>());
            }
        }
    }
}
