//! What the target has computed and the network has not read yet.

use candle_core::{Result, Tensor};
use foretoken_kernels::Paging;
use foretoken_model::SeqId;

use super::forward::Network;
use crate::drafter::{Context, Verified, VerifiedRows};

/// Rows that may wait to be read, before those of the latest forward.
const MAX_WAITING: usize = 64;

/// The target's hidden rows of committed tokens, waiting to be read.
///
/// Their keys and values are wanted only when the network drafts: where nothing pays, nobody waits for them step by
/// step. Rows are known by the slots in which keys and values belong once the forward's accepted paths have been moved
/// to the front, whoever holds these slots by then.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Of some forwards, the latest last. `[rows, hidden]` each
    hidden: Vec<Tensor>,
    /// By row.
    slots: Vec<u32>,
    /// By row.
    positions: Vec<usize>,
    latest: Latest,
}

/// What the latest target forward left. Whoever proposes was in it: a sequence that decodes runs in every step.
#[derive(Debug, Default)]
pub(super) struct Latest {
    pub(super) block_size: usize,
    /// Whose last computed token has which row of `states`, and its position.
    rows: Vec<(SeqId, usize, u32)>,
    /// Those that are kept. `[rows, hidden]`
    pub(super) states: Option<Tensor>,
}

impl Unread {
    /// Takes in what a forward has left.
    pub(super) fn push(
        &mut self,
        verified: &Verified<'_>,
        network: &mut Network,
        layer: &Tensor,
    ) -> Result<()> {
        let paging = verified.batch.paging();
        let mut kept: Vec<u32> = Vec::new();
        let (mut slots, mut positions) = (Vec::new(), Vec::new());
        self.latest.block_size = paging.block_size;
        self.latest.rows.clear();
        self.latest.states = None;
        for rows in verified.rows {
            for (row, slot) in kept_rows(rows, paging) {
                kept.push(row as u32);
                slots.push(paging.slots[slot]);
                positions.push(paging.positions[row]);
            }
            let last = kept.len().saturating_sub(1) as u32;
            let position = paging.positions[rows.last_kept];
            self.latest.rows.push((rows.seq, position, last));
        }
        // A slot that is written again has changed hands, so what was meant for it comes first. This forward's rows
        // have to wait, as accepted paths have not been moved yet.
        let is_again = || slots.iter().any(|slot| self.slots.contains(slot));
        if self.slots.len() > MAX_WAITING || is_again() {
            self.read(network, layer)?;
        }
        let num_kept = kept.len();
        let kept = Tensor::from_vec(kept, num_kept, verified.hidden.device())?;
        let states = verified.hidden.index_select(&kept, 0)?;
        self.latest.states = Some(states.clone());
        self.hidden.push(states);
        self.slots.extend(slots);
        self.positions.extend(positions);
        Ok(())
    }

    /// Has the network read all of it.
    pub(super) fn read(&mut self, network: &mut Network, layer: &Tensor) -> Result<()> {
        let hidden = match &self.hidden[..] {
            [] => return Ok(()),
            [hidden] => hidden.clone(),
            several => Tensor::cat(several, 0)?,
        };
        self.hidden.clear();
        let (slots, positions) = (
            std::mem::take(&mut self.slots),
            std::mem::take(&mut self.positions),
        );
        network.read(&hidden, &positions, &slots, layer)
    }

    /// What the latest forward left.
    pub(super) fn latest(&self) -> &Latest {
        &self.latest
    }

    /// The cache does not hold the sequence any more; what it computed may be found there by others.
    pub(super) fn forget(&mut self, seq: SeqId) {
        self.latest.rows.retain(|&(other, ..)| other != seq);
    }
}

impl Latest {
    /// The row of the state before a sequence's root, if all before the root is computed.
    pub(super) fn find(&self, context: &Context<'_>) -> Option<u32> {
        let before_root = context.tokens.len().checked_sub(2)?;
        let is_wanted = |&&(seq, position, _): &&(SeqId, usize, u32)| {
            (seq, position) == (context.seq, before_root)
        };
        self.rows.iter().find(is_wanted).map(|&(.., row)| row)
    }
}

/// A sequence's rows that are kept, in order, and for each the row whose slot it has in the end: an accepted path moves
/// to the front of its tree.
fn kept_rows(rows: &VerifiedRows, paging: &Paging) -> impl Iterator<Item = (usize, usize)> {
    // The root's bit alone for committed rows and the root; of a node the last one is its own.
    let path =
        match paging.positions[rows.last_kept] > paging.context_lens[paging.seqs[rows.last_kept]] {
            true => paging.ancestors[rows.last_kept],
            false => 1,
        };
    let root = rows.last_kept - path.ilog2() as usize;
    let nodes = (1..u64::BITS as usize).filter(move |node| path >> node & 1 == 1);
    let nodes = nodes
        .zip(1..)
        .map(move |(node, place)| (root + node, root + place));
    (rows.rows.start..=root).map(|row| (row, row)).chain(nodes)
}
