//! How the device's attention is dealt out to blocks. Nothing here changes a bit of what a row gets.

#[cfg(feature = "cuda")]
use super::args::Kernel;
#[cfg(feature = "cuda")]
use super::unit::Shape;
#[cfg(feature = "cuda")]
use crate::on_device::OnDevice;
use crate::paging::Paging;

/// Positions of a split: sums over them are added to those over the splits before, one by one.
pub(crate) const SPLIT: usize = 256;

/// Rows of a tile of the tensor cores.
const TILE: usize = 16;

/// What a block does, for one head of keys and values: a few rows of one sequence and some splits of their keys.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) first_row: u32,
    pub(crate) num_rows: u32,
    pub(crate) first_split: u32,
    pub(crate) end_split: u32,
}

/// A row's place, as kernels read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) ancestors: u64,
    pub(crate) position: u32,
    pub(crate) context_len: u32,
    /// Where the sequence's block table starts.
    pub(crate) table: u32,
    /// Where its partial sums start.
    pub(crate) partials: u32,
    /// Leading splits that its first partial sum holds.
    pub(crate) lead: u32,
    pub(crate) unused: u32,
}

impl Row {
    /// Splits that the row sees a part of.
    pub(crate) fn num_splits(&self) -> usize {
        self.position as usize / SPLIT + 1
    }

    /// Leading splits that it sees whole, where the rows after it see them too.
    fn num_whole(&self) -> usize {
        let (position, context_len) = (self.position as usize, self.context_len as usize);
        context_len.min(position + 1) / SPLIT
    }
}

/// A batch, dealt out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) items: Vec<Item>,
    /// Blocks for each head of keys and values: one for each item, or more, which find nothing to do.
    pub(crate) num_blocks: usize,
    pub(crate) rows: Vec<Row>,
    /// Partial sums of all rows.
    pub(crate) num_partials: usize,
    /// True if some row's sums lie in several of them.
    pub(crate) folds: bool,
}

impl Plan {
    /// Deals a batch out, in blocks that hold `num_queries` queries, `group` of each row. Rows that only fill up get
    /// none: what lies in their place is nobody's.
    pub(crate) fn new(paging: &Paging, num_queries: usize, group: usize) -> Self {
        let mut plan = Self {
            rows: (0..paging.num_rows())
                .map(|row| placed(paging, row))
                .collect(),
            ..Self::default()
        };
        let seqs = &paging.seqs[..paging.num_rows() - paging.padding];
        let mut first = 0;
        while first < seqs.len() {
            let seq = seqs[first];
            let same_seq = seqs[first..].iter().take_while(|&&other| other == seq);
            let end = first + same_seq.count();
            // More rows than a tree has are a prompt's. Its blocks are many without cutting their keys, and partial sums
            // would take room.
            let is_prompt = end - first > u64::BITS as usize;
            let tile_rows = (num_queries / group).max(1);
            for start in (first..end).step_by(tile_rows) {
                plan.push_tile(start, end.min(start + tile_rows), is_prompt, group);
            }
            first = end;
        }
        plan.num_blocks = plan.items.len();
        plan
    }

    /// Takes as many blocks as other plans of about this size, for a launch that serves them all.
    pub(crate) fn round_up(&mut self) {
        self.num_blocks = self.num_blocks.next_power_of_two();
    }

    /// Rows whose leading splits, which all of them see whole, are read once for all; in what is left most rows have
    /// keys of their own, and the fewer of them are in a block, the sooner it is done.
    fn push_tile(&mut self, start: usize, end: usize, is_prompt: bool, group: usize) {
        let rows = &mut self.rows[start..end];
        let whole = rows.iter().map(Row::num_whole).min().unwrap_or_default();
        let num_splits = rows.iter().map(Row::num_splits).max().unwrap_or_default();
        let lead = if is_prompt { whole.max(1) } else { 1 };
        for row in &mut *rows {
            row.lead = lead as u32;
            row.partials = self.num_partials as u32;
            self.folds |= row.num_splits() > lead;
            if row.num_splits() > 1 {
                self.num_partials += row.num_splits() - lead + 1;
            }
        }
        if whole > 0 {
            self.push(start..end, 0..lead);
            for split in lead..whole {
                self.push(start..end, split..split + 1);
            }
        }
        let few = (TILE / group).max(1);
        for split in whole..num_splits {
            for first in (start..end).step_by(few) {
                let some = first..end.min(first + few);
                if self.rows[some.clone()]
                    .iter()
                    .any(|row| row.num_splits() > split)
                {
                    self.push(some, split..split + 1);
                }
            }
        }
    }

    fn push(&mut self, rows: std::ops::Range<usize>, splits: std::ops::Range<usize>) {
        self.items.push(Item {
            first_row: rows.start as u32,
            num_rows: rows.len() as u32,
            first_split: splits.start as u32,
            end_split: splits.end as u32,
        });
    }
}

/// Where things lie in `Plan::words`: with as many blocks and rows, always there.
impl Plan {
    pub(crate) fn items_start(&self) -> usize {
        size_of::<Item>() / size_of::<u32>()
    }

    pub(crate) fn rows_start(&self) -> usize {
        let end = self.items_start() + self.num_blocks * size_of::<Item>() / size_of::<u32>();
        end.next_multiple_of(size_of::<Row>() / size_of::<u32>())
    }

    pub(crate) fn blocks_start(&self) -> usize {
        self.rows_start() + self.rows.len() * size_of::<Row>() / size_of::<u32>()
    }

    /// All that kernels read of it, as one upload: the number of items, items, rows, and the batch's block tables.
    pub(crate) fn words(&self, block_tables: &[u32]) -> Vec<u32> {
        let mut words = vec![0; self.blocks_start()];
        words[0] = self.items.len() as u32;
        let items = words[self.items_start()..].as_chunks_mut().0;
        for (words, item) in items.iter_mut().zip(&self.items) {
            *words = [
                item.first_row,
                item.num_rows,
                item.first_split,
                item.end_split,
            ];
        }
        let rows = words[self.rows_start()..].as_chunks_mut().0;
        for (words, row) in rows.iter_mut().zip(&self.rows) {
            *words = [
                row.ancestors as u32,
                (row.ancestors >> 32) as u32,
                row.position,
                row.context_len,
                row.table,
                row.partials,
                row.lead,
                row.unused,
            ];
        }
        words.extend_from_slice(block_tables);
        words
    }
}

/// A plan and its copy on the device.
#[cfg(feature = "cuda")]
#[derive(Debug)]
pub(crate) struct Dealt {
    pub(crate) plan: Plan,
    pub(crate) words: OnDevice,
    pub(crate) kernel: Kernel,
    pub(crate) shape: Shape,
}

#[cfg(feature = "cuda")]
impl Dealt {
    pub(crate) fn new(paging: &Paging, kernel: Kernel, shape: Shape) -> Self {
        Self {
            plan: Plan::new(paging, kernel.num_queries(), shape.group),
            words: OnDevice::default(),
            kernel,
            shape,
        }
    }

    /// True if blocks have as many queries, and as many of each row.
    pub(crate) fn is_for(&self, kernel: Kernel, shape: Shape) -> bool {
        self.kernel.num_queries() == kernel.num_queries() && self.shape.group == shape.group
    }
}

fn placed(paging: &Paging, row: usize) -> Row {
    let seq = paging.seqs[row];
    Row {
        ancestors: paging.ancestors[row],
        position: paging.positions[row] as u32,
        context_len: paging.context_lens[seq] as u32,
        table: paging.table_starts[seq] as u32,
        partials: 0,
        lead: 1,
        unused: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One sequence's rows from a position on, before or in its tree, which is a chain.
    fn chain(context_len: usize, first: usize, num_rows: usize) -> Paging {
        let positions: Vec<usize> = (first..first + num_rows).collect();
        let ancestors = positions.iter().map(|&position| {
            let depth = position.saturating_sub(context_len);
            u64::MAX >> (63 - depth)
        });
        Paging {
            block_size: 16,
            block_tables: (0..1000).collect(),
            table_starts: vec![0, 1000],
            context_lens: vec![context_len],
            seqs: vec![0; num_rows],
            ancestors: ancestors.collect(),
            positions,
            ..Paging::default()
        }
    }

    #[test]
    fn every_split_of_every_row_is_dealt_out_once() {
        for (context_len, first, num_rows) in [
            (0, 0, 1),
            (255, 255, 1),
            (256, 256, 3),
            (1000, 1000, 64),
            (1500, 1000, 500),
            (700, 690, 30),
            (5000, 5000, 1),
        ] {
            for (num_queries, group) in [(64, 1), (64, 4), (32, 7), (64, 64)] {
                let plan = Plan::new(&chain(context_len, first, num_rows), num_queries, group);
                for (index, row) in plan.rows.iter().enumerate() {
                    let splits = plan.items.iter().filter(|item| {
                        (item.first_row..item.first_row + item.num_rows).contains(&(index as u32))
                    });
                    let mut splits: Vec<u32> = splits
                        .flat_map(|item| item.first_split..item.end_split)
                        .filter(|&split| (split as usize) < row.num_splits())
                        .collect();
                    splits.sort_unstable();
                    let want: Vec<u32> = (0..row.num_splits() as u32).collect();
                    assert_eq!(
                        splits, want,
                        "row {index} of {num_rows} after {context_len}"
                    );
                    let num_partials = row.num_splits() - row.lead as usize + 1;
                    assert!(row.partials as usize + num_partials <= plan.num_partials.max(1));
                }
                assert!(
                    plan.items
                        .iter()
                        .all(|item| item.num_rows as usize * group <= num_queries)
                );
            }
        }
    }

    #[test]
    fn a_long_context_fills_the_chip_and_a_long_prompt_no_memory() {
        let decode = Plan::new(&chain(8191, 8191, 1), 64, 4);
        assert_eq!(decode.items.len(), 32);
        assert!(decode.folds);
        let prompt = Plan::new(&chain(8192, 7680, 512), 64, 4);
        assert!(prompt.num_partials <= 2 * 512);
        assert!(!Plan::new(&chain(100, 100, 1), 64, 4).folds);
    }
}
