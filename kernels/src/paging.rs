//! Where the rows of a batch find their keys and values in the paged cache.

use std::ops::Range;

use candle_core::{Result, bail};

#[cfg(any(feature = "cuda", test))]
use crate::kv::NO_SLOT;
use crate::on_device::OnDevice;
use crate::paged_attention::Planned;

/// A flat batch of rows over a paged cache, several sequences one after another.
///
/// A row at position p sees the positions 0..=p of its sequence. Position t below the sequence's `context_len` lies
/// in slot t; position `context_len + d` in slot `context_len +` the index of the d-th set bit of the row's
/// `ancestors`. Slots are counted within the sequence; its block table says where they lie in the cache.
#[derive(Clone, Debug, Default)]
pub struct Paging {
    /// Slots of a block.
    pub block_size: usize,
    /// Physical blocks of all sequences, one table after another.
    pub block_tables: Vec<u32>,
    /// Where each sequence's table starts; one more than there are sequences. `[seqs + 1]`
    pub table_starts: Vec<usize>,
    /// Position of each sequence's tree root. `[seqs]`
    pub context_lens: Vec<usize>,
    /// Which sequence each row belongs to. `[rows]`
    pub seqs: Vec<usize>,
    /// Place of each row in its sequence. `[rows]`
    pub positions: Vec<usize>,
    /// Tree mask of each row; ignored before `context_len`. `[rows]`
    pub ancestors: Vec<u64>,
    /// Cache slot that each row's keys and values are written to. `[rows]`
    pub slots: Vec<u32>,
    /// Rows at the end that only fill a step up: they write nothing, and nobody reads what they get.
    pub padding: usize,
    /// The rows' numbers where a GPU reads them; empty it when they change.
    pub on_device: OnDevice,
    /// How a GPU goes about their attention; empty it when they change.
    pub attention: Planned,
}

impl Paging {
    /// Rows of the batch.
    pub fn num_rows(&self) -> usize {
        self.positions.len()
    }

    /// The batch, filled up to so many rows by some at position 0 of its first sequence that are written nowhere.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn padded(&self, num_rows: usize) -> Self {
        let mut padded = self.clone();
        padded.padding += num_rows - self.num_rows();
        padded.seqs.resize(num_rows, 0);
        padded.positions.resize(num_rows, 0);
        padded.ancestors.resize(num_rows, 1);
        padded.slots.resize(num_rows, NO_SLOT);
        padded
    }

    /// What `on_device` holds: positions, then slots. `[2 * rows]`
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn columns(&self) -> Vec<u32> {
        let positions = self.positions.iter().map(|&position| position as u32);
        positions.chain(self.slots.iter().copied()).collect()
    }

    /// Checks that every slot a row may name lies in a cache of `num_slots`.
    pub(crate) fn check(&self, num_slots: usize) -> Result<()> {
        let num_blocks = num_slots / self.block_size.max(1);
        if let Some(block) = self
            .block_tables
            .iter()
            .find(|&&block| block as usize >= num_blocks)
        {
            bail!("block {block} is outside the cache of {num_blocks} blocks");
        }
        if self.seqs.len() != self.num_rows() || self.ancestors.len() != self.num_rows() {
            bail!(
                "{} positions, but {} sequence ids and {} mask rows",
                self.num_rows(),
                self.seqs.len(),
                self.ancestors.len()
            );
        }
        for row in 0..self.num_rows() {
            let seq = self.seqs[row];
            let blocks = self.table_starts[seq + 1] - self.table_starts[seq];
            let (position, context_len) = (self.positions[row], self.context_lens[seq]);
            let depth = position.saturating_sub(context_len);
            let last = match position.checked_sub(context_len) {
                None => position,
                Some(_) if self.ancestors[row].count_ones() as usize == depth + 1 => {
                    context_len + self.ancestors[row].ilog2() as usize
                }
                Some(depth) => bail!(
                    "row {row} at depth {depth} has the mask {:#b}",
                    self.ancestors[row]
                ),
            };
            if last >= blocks * self.block_size {
                bail!(
                    "row {row} names slot {last}, but its sequence has {blocks} blocks of {}",
                    self.block_size
                );
            }
        }
        Ok(())
    }

    /// The cache slot of a slot of a sequence.
    #[inline(always)]
    pub(crate) fn slot(&self, seq: usize, slot: usize) -> u32 {
        let table = &self.block_tables[self.table_starts[seq]..];
        table[slot / self.block_size] * self.block_size as u32 + (slot % self.block_size) as u32
    }

    /// The cache slots of a range of a sequence's slots, in order.
    pub(crate) fn locate(&self, seq: usize, range: Range<usize>, slots: &mut Vec<u32>) {
        slots.clear();
        let mut slot = range.start;
        while slot < range.end {
            let first = self.slot(seq, slot);
            let rest_of_block = self.block_size - first as usize % self.block_size;
            let count = rest_of_block.min(range.end - slot);
            slots.extend(first..first + count as u32);
            slot += count;
        }
    }
}
