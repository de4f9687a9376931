//! Full blocks by what they hold, for sequences that begin alike.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::BlockId;
use crate::Token;

/// What a block holds: the tokens of its slots, and what stands before them.
///
/// The tokens themselves are compared, not a hash of the chain: a collision would hand one request's text to another,
/// and 64 bytes a block are nothing beside the keys and values of 16 tokens.
#[derive(Debug, Eq, Hash, PartialEq)]
pub(super) struct Content {
    pub(super) before: Before,
    pub(super) tokens: Box<[Token]>,
}

/// What stands before a block. A block's id names its whole chain, as long as it is cached; and it is evicted after
/// those behind it, because every table that uses them uses it.
#[derive(Debug, Eq, Hash, PartialEq)]
pub(super) enum Before {
    /// Nothing: a sequence begins. Those of another salt share nothing with it.
    Salt(Option<Arc<str>>),
    /// A cached block.
    Block(BlockId),
}

/// The cached blocks.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    // The standard hasher is keyed at random: tokens are the clients' to choose.
    by_content: HashMap<Arc<Content>, BlockId>,
    by_id: HashMap<BlockId, Entry>,
    /// Blocks that no table uses, the one that was left first first.
    unused: BTreeMap<u64, BlockId>,
    num_leaves: u64,
}

#[derive(Debug)]
struct Entry {
    content: Arc<Content>,
    num_users: usize,
    /// Its place in `unused`, if it is there.
    left_at: u64,
}

impl PrefixCache {
    /// Blocks that are cached.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Those among them that no table uses.
    pub(super) fn num_unused(&self) -> usize {
        self.unused.len()
    }

    /// The block that holds `content`.
    pub(super) fn find(&self, content: &Content) -> Option<BlockId> {
        self.by_content.get(content).copied()
    }

    /// Caches a block that one table uses, of content that no other block holds.
    pub(super) fn insert(&mut self, content: Content, block: BlockId) {
        let content = Arc::new(content);
        self.by_content.insert(Arc::clone(&content), block);
        let entry = Entry {
            content,
            num_users: 1,
            left_at: 0,
        };
        self.by_id.insert(block, entry);
    }

    /// One more table uses a cached block.
    pub(super) fn enter(&mut self, block: BlockId) {
        if let Some(entry) = self.by_id.get_mut(&block) {
            if entry.num_users == 0 {
                self.unused.remove(&entry.left_at);
            }
            entry.num_users += 1;
        }
    }

    /// One table less uses a cached block. A table leaves its last block first.
    pub(super) fn leave(&mut self, block: BlockId) {
        if let Some(entry) = self.by_id.get_mut(&block) {
            entry.num_users -= 1;
            if entry.num_users == 0 {
                entry.left_at = self.num_leaves;
                self.unused.insert(self.num_leaves, block);
                self.num_leaves += 1;
            }
        }
    }

    /// Forgets the block that has been without a table for longest, and gives it away.
    pub(super) fn evict(&mut self) -> Option<BlockId> {
        let (_, block) = self.unused.pop_first()?;
        if let Some(entry) = self.by_id.remove(&block) {
            self.by_content.remove(&entry.content);
        }
        Some(block)
    }
}
