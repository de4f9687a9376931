//! What the network is given: a level of draft trees, over what the latest forward left of their sequences.

use candle_core::{Result, Tensor};
use foretoken_model::{Batch, SeqId, SequenceRows, Token};

use crate::drafter::{Context, Verified};
use crate::grow::Frontier;
use crate::tree::{DraftTree, Node};

/// What the latest target forward left. Whoever proposes was in it: a sequence that decodes runs in every step.
#[derive(Debug)]
pub(super) struct Latest {
    block_size: usize,
    /// By row of `states`: whose last computed token it is, and its position; none if that has been forgotten.
    rows: Vec<Option<(SeqId, usize)>>,
    states: Tensor, // [sequences, hidden]
}

impl Latest {
    /// Copies the hidden row of each sequence's last token that is kept.
    pub(super) fn new(verified: &Verified<'_>) -> Result<Self> {
        let Verified {
            batch,
            rows,
            hidden,
        } = *verified;
        let last: Vec<u32> = rows.iter().map(|rows| rows.last_kept as u32).collect();
        let last = Tensor::from_vec(last, rows.len(), hidden.device())?;
        let positions = &batch.paging().positions;
        let row = rows
            .iter()
            .map(|rows| Some((rows.seq, positions[rows.last_kept])));
        Ok(Self {
            block_size: batch.paging().block_size,
            rows: row.collect(),
            states: hidden.index_select(&last, 0)?,
        })
    }

    /// The cache does not hold the sequence any more.
    pub(super) fn forget(&mut self, seq: SeqId) {
        for row in &mut self.rows {
            if row.is_some_and(|(other, _)| other == seq) {
                *row = None;
            }
        }
    }

    /// The row of the state before a sequence's root, if all before the root is computed.
    pub(super) fn find(&self, context: &Context<'_>) -> Option<u32> {
        let before_root = context.tokens.len().checked_sub(2)?;
        let wanted = Some((context.seq, before_root));
        let row = self.rows.iter().position(|&row| row == wanted)?;
        Some(row as u32)
    }
}

/// One level of the draft trees of some sequences.
#[derive(Debug)]
pub(super) struct Level {
    /// Its nodes.
    pub(super) batch: Batch,
    /// By node: the last two tokens of its branch before it, and its own.
    pub(super) trigrams: Vec<[Token; 3]>,
    /// By node: the target's hidden row of the position before its tree. `[rows, hidden]`
    pub(super) states: Tensor,
    /// Levels between the roots and it.
    pub(super) depth: usize,
}

impl Level {
    /// The nodes that are to be computed, all of one depth. `states`: by context, where [`Latest::find`] finds its state.
    pub(super) fn new(
        frontiers: &[Frontier<'_>],
        latest: &Latest,
        states: &[Option<u32>],
    ) -> Result<Self> {
        let mut batch = Batch::new(latest.block_size);
        let mut trigrams = Vec::new();
        let mut rows: Vec<u32> = Vec::new();
        let mut depth = 0;
        for frontier in frontiers {
            batch.push(sequence_rows(frontier));
            let nodes = frontier.nodes.clone();
            depth = frontier.tree.depth(nodes.start);
            let state = states[frontier.index];
            rows.extend(std::iter::repeat_n(state, nodes.len()).flatten());
            trigrams.extend(nodes.map(|node| trigram(frontier, node)));
        }
        let rows = Tensor::from_vec(rows, batch.num_rows(), latest.states.device())?;
        Ok(Self {
            batch,
            trigrams,
            states: latest.states.index_select(&rows, 0)?,
            depth,
        })
    }
}

fn sequence_rows<'a>(frontier: &Frontier<'a>) -> SequenceRows<'a> {
    let Frontier {
        context,
        tree,
        ref nodes,
        ..
    } = *frontier;
    let context_len = context.tokens.len() - 1;
    // The root is a row like those of committed tokens.
    let (tokens, drafts) = match nodes.start {
        DraftTree::ROOT => (&context.tokens[context_len..], 1..1),
        _ => (&[][..], nodes.clone()),
    };
    SequenceRows {
        table: context.table,
        context_len,
        start: context_len,
        tokens,
        first_node: drafts.start,
        draft_tokens: &tree.tokens()[drafts.clone()],
        ancestors: &tree.ancestors()[drafts],
    }
}

/// The tokens of a node's branch up to it, before the beginning of the text its first one again.
fn trigram(frontier: &Frontier<'_>, mut node: Node) -> [Token; 3] {
    let (tree, tokens) = (frontier.tree, frontier.context.tokens);
    let mut committed = tokens.len() - 1;
    let mut trigram = [0; 3];
    for token in trigram.iter_mut().rev() {
        if node == DraftTree::ROOT {
            *token = tokens[committed];
            committed = committed.saturating_sub(1);
        } else {
            *token = tree.tokens()[node];
            node = tree.parents()[node];
        }
    }
    trigram
}
