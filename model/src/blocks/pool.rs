//! All blocks of the cache.

use std::sync::Arc;

use super::prefix_cache::{Before, Content, PrefixCache};
use super::{BlockId, BlockTable};
use crate::Token;

/// All blocks of the cache: free, private to a table, or cached.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<BlockId>,
    num_private: usize,
    cached: PrefixCache,
    num_blocks: usize,
    block_size: usize,
}

impl BlockPool {
    /// `num_blocks` free blocks of `block_size` slots.
    pub fn new(num_blocks: usize, block_size: usize) -> Self {
        // Taken from the end: the lowest first.
        Self {
            free: (0..num_blocks as BlockId).rev().collect(),
            num_private: 0,
            cached: PrefixCache::default(),
            num_blocks,
            block_size,
        }
    }

    /// Blocks in all.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Blocks that hold nothing.
    pub fn num_free(&self) -> usize {
        self.free.len()
    }

    /// Blocks that one table owns.
    pub fn num_private(&self) -> usize {
        self.num_private
    }

    /// Blocks that stay as they are for whoever begins alike, in use or not.
    pub fn num_cached(&self) -> usize {
        self.cached.len()
    }

    /// Blocks that no table holds: free, or cached and evicted when they are needed.
    pub fn num_available(&self) -> usize {
        self.free.len() + self.cached.num_unused()
    }

    /// Slots of a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Gives an empty table the cached blocks that `tokens` begin with, and says how many slots these have. One token
    /// at least is left to compute, so that nothing is ever written into them.
    pub fn adopt(
        &mut self,
        table: &mut BlockTable,
        tokens: &[Token],
        salt: Option<&Arc<str>>,
    ) -> usize {
        debug_assert!(table.blocks.is_empty(), "the table holds blocks already");
        let most = tokens.len().saturating_sub(1) / self.block_size;
        for tokens in tokens.chunks_exact(self.block_size).take(most) {
            let Some(block) = self.cached.find(&content(table, tokens, salt)) else {
                break;
            };
            self.cached.enter(block);
            table.blocks.push(block);
            table.num_cached += 1;
        }
        table.num_cached * self.block_size
    }

    /// Gives `table` blocks until it has `num_slots` slots; evicts cached ones that nobody uses where no more are free.
    /// False, and nothing given, if these are too few.
    #[must_use]
    pub fn grow(&mut self, table: &mut BlockTable, num_slots: usize) -> bool {
        let missing = num_slots
            .div_ceil(self.block_size)
            .saturating_sub(table.blocks.len());
        if missing > self.num_available() {
            return false;
        }
        for _ in 0..missing {
            table
                .blocks
                .extend(self.free.pop().or_else(|| self.cached.evict()));
        }
        self.num_private += missing;
        true
    }

    /// Caches the blocks of a sequence that are full, of committed tokens whose keys and values are computed: `computed`
    /// are these from the first on. Where another block holds the same already, that one takes the place of the table's
    /// own, which becomes free: both hold the same bits, because a row depends on its own inputs alone.
    pub fn publish(&mut self, table: &mut BlockTable, computed: &[Token], salt: Option<&Arc<str>>) {
        for tokens in computed
            .chunks_exact(self.block_size)
            .skip(table.num_cached)
        {
            let content = content(table, tokens, salt);
            let own = &mut table.blocks[table.num_cached];
            match self.cached.find(&content) {
                Some(twin) => {
                    self.cached.enter(twin);
                    self.free.push(std::mem::replace(own, twin));
                }
                None => self.cached.insert(content, *own),
            }
            table.num_cached += 1;
            self.num_private -= 1;
        }
    }

    /// Takes a sequence's blocks back. What is cached of them stays so until it is evicted.
    pub fn release(&mut self, table: &mut BlockTable) {
        // The last first: what stands behind is evicted before what it stands on.
        for block in table.blocks.drain(table.num_cached..).rev() {
            self.free.push(block);
            self.num_private -= 1;
        }
        for block in table.blocks.drain(..).rev() {
            self.cached.leave(block);
        }
        table.num_cached = 0;
    }
}

/// What the block behind the table's cached ones holds if it holds `tokens`.
fn content(table: &BlockTable, tokens: &[Token], salt: Option<&Arc<str>>) -> Content {
    let before = match table.last_cached() {
        Some(block) => Before::Block(block),
        None => Before::Salt(salt.cloned()),
    };
    Content {
        before,
        tokens: tokens.into(),
    }
}

#[cfg(test)]
mod tests;
