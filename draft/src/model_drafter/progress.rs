//! How far sequences were read, and which blocks hold what.

use std::collections::HashMap;
use std::hash::Hasher;

use foretoken_model::{BlockId, SeqId, Token};
use rustc_hash::{FxHashMap, FxHasher};

use crate::drafter::{Context, Verified};

/// What a drafter with layers in the cache has computed of each sequence.
///
/// Blocks are known by a hash of all tokens up to their end, so that a sequence that begins with blocks of another finds
/// what was computed for that one. Three things make a block hold something else: the target computes rows of it, which
/// may be moved from slot to slot in all layers; the drafter's own trees lie in it; or a sequence's full block gives way
/// to another that holds the same to the target. So it is blocks that are believed, not sequences.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    block_size: usize,
    sequences: HashMap<SeqId, Read>,
    blocks: FxHashMap<BlockId, u64>,
}

/// What was computed of a sequence.
#[derive(Debug, Default)]
struct Read {
    /// Tokens from the front on.
    num_tokens: usize,
    /// Of the tokens up to the end of each full block.
    hashes: Vec<u64>,
    /// The block behind those.
    tail: BlockId,
}

impl Progress {
    /// Nothing is read yet.
    pub(crate) fn new(block_size: usize) -> Self {
        Self {
            block_size,
            ..Self::default()
        }
    }

    /// Tokens of a sequence that are computed, from the front on; never its root.
    pub(crate) fn num_read(&mut self, context: &Context<'_>) -> usize {
        let read = self.sequences.entry(context.seq).or_default();
        let num_known = read.hashes.len();
        let before_root = &context.tokens[..context.tokens.len() - 1];
        let blocks = before_root.chunks_exact(self.block_size);
        let mut num_blocks = 0;
        for (tokens, block) in blocks.zip(context.table.blocks()) {
            let hash = read.hash(num_blocks, tokens);
            if self.blocks.get(block) != Some(&hash) {
                break;
            }
            num_blocks += 1;
        }
        read.hashes.truncate(num_blocks);
        let tail = context.table.blocks().get(num_blocks);
        if num_blocks != num_known || tail != Some(&read.tail) {
            read.num_tokens = num_blocks * self.block_size;
        }
        read.num_tokens
    }

    /// Notes that the tokens behind those that were are computed, up to `num_tokens`; and a tree, if that is all.
    pub(crate) fn advance(&mut self, context: &Context<'_>, num_tokens: usize) {
        let read = self.sequences.entry(context.seq).or_default();
        read.num_tokens = num_tokens;
        let (first, end) = (read.hashes.len(), num_tokens / self.block_size);
        for index in first..end {
            let tokens = &context.tokens[index * self.block_size..][..self.block_size];
            let hash = read.hash(index, tokens);
            self.blocks.insert(context.table.blocks()[index], hash);
        }
        let behind = &context.table.blocks()[end..];
        read.tail = behind.first().copied().unwrap_or_default();
        if num_tokens == context.tokens.len() {
            for block in behind {
                self.blocks.remove(block);
            }
        }
    }

    /// Drops the blocks that the target has written without their tokens being read before.
    pub(crate) fn observe(&mut self, verified: &Verified<'_>) {
        let slots = verified.batch.slot_mapping();
        let positions = &verified.batch.paging().positions;
        for rows in verified.rows {
            let read = self.sequences.get(&rows.seq);
            let num_read = read.map_or(0, |read| read.num_tokens);
            for row in rows.rows.clone() {
                if positions[row] >= num_read {
                    self.blocks.remove(&(slots[row] / self.block_size as u32));
                }
            }
        }
    }

    /// The sequence's blocks are no longer its own.
    pub(crate) fn forget(&mut self, seq: SeqId) {
        self.sequences.remove(&seq);
    }
}

impl Read {
    /// The hash up to the end of a block, whose predecessors' are there.
    fn hash(&mut self, index: usize, tokens: &[Token]) -> u64 {
        if let Some(&hash) = self.hashes.get(index) {
            return hash;
        }
        let mut hasher = FxHasher::default();
        hasher.write_u64(self.hashes.last().copied().unwrap_or_default());
        tokens.iter().for_each(|&token| hasher.write_u32(token));
        self.hashes.push(hasher.finish());
        hasher.finish()
    }
}
