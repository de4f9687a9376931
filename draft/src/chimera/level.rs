//! What the network is given: a level of draft trees, over what the latest forward left of their sequences.

use candle_core::{Result, Tensor, bail};
use foretoken_model::{Batch, SequenceRows, Token};

use super::unread::Latest;
use crate::grow::Frontier;
use crate::tree::{DraftTree, Node};

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
        let Some(known) = &latest.states else {
            bail!("no state is known");
        };
        let rows = Tensor::from_vec(rows, batch.num_rows(), known.device())?;
        Ok(Self {
            batch,
            trigrams,
            states: known.index_select(&rows, 0)?,
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
