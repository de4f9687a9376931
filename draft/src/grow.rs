//! Grows draft trees by a network: level by level, all sequences in one forward a level, as EAGLE-2 does.

mod guesser;

use std::ops::Range;

use candle_core::Result;
use foretoken_model::Token;

use crate::drafter::{Context, Costs};
use crate::parallel::for_each_job;
use crate::tree::{DraftTree, Node};
use guesser::{Guesser, Scratch};

/// Less likely nodes are not drafted: no budget pays for them.
const MIN_SURVIVAL: f32 = 5e-4;

/// A level that promises fewer tokens than this, even if all its nodes' best children were sure, is not computed: it
/// takes a forward.
const MIN_HOPE: f32 = 0.1;

/// Of the nodes that are reached, so many are followed by their likeliest child.
const FOLLOWED: f32 = 0.7;

/// Nodes of a level that are expanded, at most.
const MAX_WIDTH: usize = 10;

/// Which nodes are expanded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// The likeliest of each level, EAGLE-2's rule: Li et al., arXiv 2406.16858.
    Dynamic,
    /// Always the same ones: by level, how many children its nodes have, best node first. Those behind have none.
    Fixed(&'static [&'static [usize]]),
}

impl Shape {
    /// The tree of 25 nodes that EAGLE-1 and Chimera were published with.
    pub const PUBLISHED: Self = Self::Fixed(&[&[4], &[3, 2, 2, 1], &[3, 2, 2, 1], &[3], &[2]]);

    /// Nodes of a level that are expanded in a tree of so many.
    fn width(self, level: usize, max_draft_tokens: usize) -> usize {
        match self {
            // EAGLE-2 has 10 for 60 nodes; of fewer nodes, a larger share is below.
            Self::Dynamic => max_draft_tokens.div_ceil(4).min(MAX_WIDTH),
            Self::Fixed(levels) => levels.get(level).map_or(0, |level| level.len()),
        }
    }

    /// Children that the node at a place of its level may have.
    fn num_children(self, level: usize, place: usize) -> usize {
        match self {
            Self::Dynamic => usize::MAX,
            Self::Fixed(levels) => levels[level][place],
        }
    }
}

/// What a network shall compute of one sequence: the latest level of its tree.
#[derive(Debug)]
pub(crate) struct Frontier<'a> {
    /// Which of the contexts.
    pub(crate) index: usize,
    /// Whose tree.
    pub(crate) context: &'a Context<'a>,
    /// The nodes that were computed so far, and those to be computed now: not the draft, which has children that
    /// nobody expands. A node's number here is the slot behind the context that its keys and values may have, and its
    /// bit in the masks; a branch is walked up by `parents`.
    pub(crate) tree: &'a DraftTree,
    /// Those to be computed now, all of one depth. The root, then such as have been computed parents.
    pub(crate) nodes: Range<Node>,
}

/// Takes the logits after each node of all frontiers, in order. `[nodes][draft vocab]`
pub(crate) type Look<'a> = dyn FnMut(&[&[f32]]) + 'a;

/// How trees are grown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    /// In whose name.
    pub(crate) source: &'static str,
    /// Which nodes are expanded.
    pub(crate) shape: Shape,
    /// The tokens that logits are of, if not all.
    pub(crate) draft_vocab: Option<&'a [Token]>,
}

/// Grows one tree per context, in order.
///
/// `num_levels` says for each how many levels its tree may have at most, beside its context's own limit; at 0 nothing is
/// computed and the root stands alone. `compute` is asked once a level: it computes the nodes of the frontiers, which
/// are those of all contexts that still grow, and shows the logits after each.
pub(crate) fn grow(
    contexts: &[Context<'_>],
    manner: Manner<'_>,
    num_levels: &[usize],
    mut compute: impl FnMut(&[Frontier<'_>], &mut Look<'_>) -> Result<()>,
) -> Result<Vec<DraftTree>> {
    let Manner {
        source,
        shape,
        draft_vocab,
    } = manner;
    let mut saplings: Vec<Sapling<'_>> = (contexts.iter().zip(num_levels))
        .map(|(context, &num_levels)| Sapling::new(context, source, shape, num_levels))
        .collect();
    let guessers: Vec<Guesser<'_>> = (contexts.iter())
        .map(|context| Guesser::new(context.sampling, source, draft_vocab))
        .collect();
    let mut scratches = Vec::new();
    loop {
        let frontiers: Vec<Frontier<'_>> = (saplings.iter().enumerate())
            .filter_map(|(index, sapling)| sapling.frontier(index))
            .collect();
        if frontiers.is_empty() {
            break;
        }
        let nodes = (saplings.iter().enumerate())
            .flat_map(|(index, sapling)| sapling.nodes.clone().map(move |node| (index, node)));
        let mut level = vec![Vec::new(); saplings.len()];
        compute(&frontiers, &mut |logits| {
            let mut rows: Vec<_> = nodes.clone().zip(logits).collect();
            let read = |&mut ((index, node), logits): &mut ((usize, Node), &&[f32]),
                        scratch: &mut Scratch| {
                let guesses = saplings[index].read(node, logits, &guessers[index], scratch);
                (index, guesses)
            };
            for (index, guesses) in for_each_job(&mut rows, &mut scratches, read) {
                level[index].extend(guesses);
            }
        })?;
        for (sapling, guesses) in saplings.iter_mut().zip(level) {
            sapling.take(guesses);
        }
    }
    Ok(saplings.iter().map(Sapling::draft).collect())
}

/// A tree that grows.
#[derive(Debug)]
struct Sapling<'a> {
    context: &'a Context<'a>,
    source: &'static str,
    shape: Shape,
    max_depth: usize,
    /// Nodes that were expanded, and those that are to be.
    tree: DraftTree,
    /// Those that are to be.
    nodes: Range<Node>,
    /// The draft so far. Where the shape goes by likelihood, best first; of equals, parents first.
    pool: Vec<Guess>,
}

/// A node that may be drafted.
#[derive(Clone, Debug)]
struct Guess {
    /// Among the expanded ones.
    parent: Node,
    token: Token,
    survival: f32,
    /// Its own number among them.
    expanded: Option<Node>,
}

impl<'a> Sapling<'a> {
    fn new(
        context: &'a Context<'a>,
        source: &'static str,
        shape: Shape,
        num_levels: usize,
    ) -> Self {
        let max_depth = num_levels.min(context.max_draft_depth);
        let grows = max_depth > 0 && context.max_draft_tokens > 0 && shape.width(0, 1) > 0;
        Self {
            context,
            source,
            shape,
            max_depth,
            tree: DraftTree::new(context.root()),
            nodes: DraftTree::ROOT..usize::from(grows),
            pool: Vec::new(),
        }
    }

    fn frontier(&self, index: usize) -> Option<Frontier<'_>> {
        (!self.nodes.is_empty()).then(|| Frontier {
            index,
            context: self.context,
            tree: &self.tree,
            nodes: self.nodes.clone(),
        })
    }

    /// What a node has to survive with to be drafted.
    fn floor(&self) -> f32 {
        match (self.shape, self.pool.last()) {
            (Shape::Fixed(_), _) => 0.0,
            (Shape::Dynamic, Some(last)) if self.pool.len() == self.context.max_draft_tokens => {
                last.survival
            }
            (Shape::Dynamic, _) => MIN_SURVIVAL,
        }
    }

    /// The guesses at what follows a node.
    fn read(
        &self,
        node: Node,
        logits: &[f32],
        guesser: &Guesser<'_>,
        scratch: &mut Scratch,
    ) -> Vec<Guess> {
        let (reached, depth) = (self.tree.survival()[node], self.tree.depth(node));
        let place = node - self.nodes.start;
        let position = self.context.tokens.len() + depth;
        let floor = self.floor();
        let children = guesser.guess(logits, position, scratch);
        let children = (children.iter())
            .take(self.shape.num_children(depth, place))
            .map(|child| Guess {
                parent: node,
                token: child.token,
                survival: reached * child.chance,
                expanded: None,
            });
        children.filter(|guess| guess.survival >= floor).collect()
    }

    /// Takes a level's guesses in, and decides which of them are expanded next.
    fn take(&mut self, guesses: Vec<Guess>) {
        if self.nodes.is_empty() {
            return;
        }
        self.pool.extend(guesses);
        if self.shape == Shape::Dynamic {
            // Stable, and no child is likelier than its parent: what is cut off has no children that stay.
            self.pool.sort_by(|a, b| b.survival.total_cmp(&a.survival));
        }
        self.pool.truncate(self.context.max_draft_tokens);
        self.expand();
    }

    fn expand(&mut self) {
        let parents = std::mem::replace(&mut self.nodes, 0..0);
        let depth = self.tree.depth(parents.start) + 1;
        if depth >= self.max_depth {
            return;
        }
        let first = self.tree.num_nodes();
        let width = self.shape.width(depth, self.context.max_draft_tokens);
        let width = width.min(DraftTree::MAX_NODES - first);
        let floor = self.floor();
        let best: Vec<&mut Guess> = (self.pool.iter_mut())
            .filter(|guess| parents.contains(&guess.parent) && guess.survival > floor)
            .take(width)
            .collect();
        let Costs { level, node } = self.context.costs;
        let hope: f32 = best.iter().map(|guess| guess.survival).sum();
        let gains = (best.iter()).map(|guess| (FOLLOWED * guess.survival - node).max(0.0));
        if self.shape == Shape::Dynamic && (hope < MIN_HOPE || gains.sum::<f32>() < level) {
            return;
        }
        for guess in best {
            let Guess {
                parent,
                token,
                survival,
                ..
            } = *guess;
            guess.expanded = self.tree.push(parent, token, survival, self.source);
        }
        self.nodes = first..self.tree.num_nodes();
    }

    /// The tree of all guesses that are left.
    fn draft(&self) -> DraftTree {
        let mut draft = DraftTree::new(self.context.root());
        let mut places = [DraftTree::ROOT; DraftTree::MAX_NODES];
        for guess in &self.pool {
            let parent = places[guess.parent];
            let place = draft.push(parent, guess.token, guess.survival, self.source);
            if let (Some(node), Some(place)) = (guess.expanded, place) {
                places[node] = place;
            }
        }
        draft
    }
}

#[cfg(test)]
mod tests;
