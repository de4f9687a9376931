//! What follows a match, node by node.

use super::trust::{Class, Kind};
use crate::lookup::Match;
use crate::ranking::Successor;
use crate::tree::{DraftTree, Node};

/// A match, and how far a tree has followed it.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    found: Match<'a>,
    end: Node,
}

impl<'a> Chain<'a> {
    /// The tree's root alone.
    pub(super) fn new(found: Match<'a>) -> Self {
        Self {
            found,
            end: DraftTree::ROOT,
        }
    }

    /// What follows a node, if the match has led to it. Its parent was asked about before.
    pub(super) fn guess(&mut self, tree: &DraftTree, node: Node) -> Option<(Class, Successor)> {
        let depth = tree.depth(node);
        if node != DraftTree::ROOT {
            let token = self.found.follower(depth - 1)?;
            if tree.parents()[node] != self.end || tree.tokens()[node] != token {
                return None;
            }
            self.end = node;
        }
        let kind = match self.found.is_predicted {
            true => Kind::Prediction,
            false => Kind::Text,
        };
        let token = self.found.follower(depth)?;
        let guess = Successor::new(token, 1.0, self.found.source());
        Some((Class::new(kind, self.found.len() + depth), guess))
    }
}
