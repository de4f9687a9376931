//! Several matches as one tree's guesses: where they part, it branches.

use std::cmp::Reverse;

use crate::mixture::Mixture;
use crate::tree::{DraftTree, Node};

use super::text::Match;

/// Matches that are followed, at most. More add next to nothing.
pub(super) const MAX_MATCHES: usize = 4;

/// Tokens by which a match in a prediction counts as longer than it is: whoever states one knows more than the match.
const TRUST: usize = 8;

/// What follows the longest matches, by node.
#[derive(Debug)]
pub(super) struct Matches<'a> {
    /// Longest first.
    matches: Vec<Guide<'a>>,
    /// By node, a bit for each match that has led there.
    led: [u8; DraftTree::MAX_NODES],
}

/// A match and what it counts for.
#[derive(Debug)]
struct Guide<'a> {
    found: Match<'a>,
    len: usize,
    is_predicted: bool,
}

impl<'a> Matches<'a> {
    /// Of matches with the sequence's end, each told with whether it is in a prediction, the longest; of equal ones the
    /// first.
    pub(super) fn new(matches: impl Iterator<Item = (Match<'a>, bool)>) -> Self {
        let guide = |(found, is_predicted): (Match<'a>, bool)| Guide {
            len: found.len + if is_predicted { TRUST } else { 0 },
            found,
            is_predicted,
        };
        let mut matches: Vec<_> = matches.map(guide).collect();
        matches.sort_by_key(|guide| Reverse(guide.len));
        matches.truncate(MAX_MATCHES);
        Self {
            matches,
            led: [u8::MAX; DraftTree::MAX_NODES],
        }
    }

    /// Mixes what comes at a node, whose parent has been asked about, the longest match first.
    ///
    /// A match of m tokens goes on with a chance of m / (m + 2), and is one longer then. On greedy answers of the carried
    /// model matches of 1, 2, 3 and more than 8 tokens went on in 0.41, 0.51, 0.68 and 0.98 of cases, at T = 0.7 in 0.34,
    /// 0.50, 0.72 and 0.90.
    pub(super) fn guess(&mut self, tree: &DraftTree, node: Node, mixture: &mut Mixture) {
        self.lead(tree, node);
        mixture.clear();
        let depth = tree.depth(node);
        for (index, guide) in self.matches.iter().enumerate() {
            if self.led[node] >> index & 1 == 1
                && let Some(token) = guide.found.follower(depth)
            {
                let len = (guide.len + depth) as f32;
                mixture.add(std::iter::once((token, len / (len + 2.0))));
            }
        }
    }

    /// True if a prediction has led to a node, whose parent has been asked about.
    pub(super) fn predicts(&mut self, tree: &DraftTree, node: Node) -> bool {
        self.lead(tree, node);
        let mut guides = self.matches.iter().enumerate();
        guides.any(|(index, guide)| guide.is_predicted && self.led[node] >> index & 1 == 1)
    }

    /// Notes which of the matches that have led to a node's parent lead to it.
    fn lead(&mut self, tree: &DraftTree, node: Node) {
        if node == DraftTree::ROOT {
            return;
        }
        let (token, depth) = (tree.tokens()[node], tree.depth(node));
        self.led[node] = self.led[tree.parents()[node]];
        for (index, guide) in self.matches.iter().enumerate() {
            if guide.found.follower(depth - 1) != Some(token) {
                self.led[node] &= !(1 << index);
            }
        }
    }
}
