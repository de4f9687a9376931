//! The input of a forward: rows of many sequences, flat.

use foretoken_kernels::{OnDevice, Paging, Planned};

use crate::Token;
use crate::blocks::BlockTable;

/// Rows of many sequences, one sequence after another, prompts and trees alike.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// `[rows]`
    pub(crate) tokens: Vec<Token>,
    /// Where the rows put their keys and values, and find those of others.
    pub(crate) paging: Paging,
    /// Rows whose logits are wanted, rising.
    pub(crate) logit_rows: Vec<u32>,
}

/// One sequence's rows.
#[derive(Clone, Copy, Debug)]
pub struct SequenceRows<'a> {
    /// Reaches all slots that the rows write.
    pub table: &'a BlockTable,
    /// Position of the tree's root: the number of committed tokens less one.
    pub context_len: usize,
    /// Position of the first row.
    pub start: usize,
    /// Committed tokens from `start` on; the root is the last of them if they reach `context_len`.
    pub tokens: &'a [Token],
    /// Node of the first draft token: 1, unless the keys and values of earlier nodes are in their slots already.
    pub first_node: usize,
    /// Draft tokens, the tree's nodes from `first_node` on. Empty unless `tokens` reach the root.
    pub draft_tokens: &'a [Token],
    /// Tree mask of the draft tokens, the root being bit 0.
    pub ancestors: &'a [u64],
}

impl Batch {
    /// No rows yet, over a cache of blocks of `block_size` slots.
    pub fn new(block_size: usize) -> Self {
        let paging = Paging {
            block_size,
            table_starts: vec![0],
            ..Paging::default()
        };
        Self {
            paging,
            ..Self::default()
        }
    }

    /// Adds a sequence's rows. Logits are computed for the root, if it is among them, and the draft tokens.
    pub fn push(&mut self, rows: SequenceRows<'_>) {
        let SequenceRows {
            table,
            context_len,
            start,
            tokens,
            first_node,
            draft_tokens,
            ancestors,
        } = rows;
        let seq = self.paging.context_lens.len();
        self.paging.on_device = OnDevice::default();
        self.paging.attention = Planned::default();
        self.paging.context_lens.push(context_len);
        self.paging.block_tables.extend_from_slice(table.blocks());
        self.paging
            .table_starts
            .push(self.paging.block_tables.len());
        for (index, &token) in tokens.iter().enumerate() {
            self.push_row(table, seq, token, start + index, start + index, 1);
        }
        for (index, (&token, &mask)) in draft_tokens.iter().zip(ancestors).enumerate() {
            let depth = mask.count_ones() as usize - 1;
            self.push_row(
                table,
                seq,
                token,
                context_len + depth,
                context_len + first_node + index,
                mask,
            );
        }
        let has_root = !tokens.is_empty() && start + tokens.len() > context_len;
        let num_wanted = draft_tokens.len() + usize::from(has_root);
        let end = self.num_rows();
        self.logit_rows
            .extend((end - num_wanted) as u32..end as u32);
    }

    fn push_row(
        &mut self,
        table: &BlockTable,
        seq: usize,
        token: Token,
        position: usize,
        slot: usize,
        mask: u64,
    ) {
        self.tokens.push(token);
        self.paging
            .slots
            .push(table.physical(slot, self.paging.block_size));
        self.paging.seqs.push(seq);
        self.paging.positions.push(position);
        self.paging.ancestors.push(mask);
    }

    /// Rows of all sequences.
    pub fn num_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens by row.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Cache slots by row.
    pub fn slot_mapping(&self) -> &[u32] {
        &self.paging.slots
    }

    /// Where the rows stand, and where they find their keys.
    pub fn paging(&self) -> &Paging {
        &self.paging
    }
}
