//! Trees followed by what the target says, whether they were verified or not.

use foretoken_draft::{DraftTree, Node};
use foretoken_model::Token;

/// One tree as it was drafted, and how far the text has followed it.
///
/// The tokens that come anyway tell what each node was worth, so nothing has to be verified to be judged. The next
/// tree is taken where the text left this one, which is where it would have been drafted if this one had been
/// verified.
#[derive(Debug)]
pub(crate) struct Shadow {
    tree: DraftTree,
    reached: Node,
}

/// A node of a shadow whose parent was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) node: Node,
    pub(crate) is_kept: bool,
}

impl Shadow {
    pub(crate) fn new(tree: DraftTree) -> Self {
        Self {
            tree,
            reached: DraftTree::ROOT,
        }
    }

    pub(crate) fn tree(&self) -> &DraftTree {
        &self.tree
    }

    /// True if the text has followed the tree down to a leaf.
    pub(crate) fn came_true(&self) -> bool {
        let mut nodes = self.reached + 1..self.tree.num_nodes();
        self.reached != DraftTree::ROOT
            && !nodes.any(|node| self.tree.parents()[node] == self.reached)
    }

    /// Levels down which the text has followed the tree.
    pub(crate) fn num_followed(&self) -> usize {
        self.tree.depth(self.reached)
    }

    /// Follows the text by one token and judges the nodes that could have been it. False where the text leaves the
    /// tree.
    pub(crate) fn follow(&mut self, token: Token, verdicts: &mut Vec<Verdict>) -> bool {
        let mut next = None;
        let first = self.reached + 1;
        for node in
            (first..self.tree.num_nodes()).filter(|&node| self.tree.parents()[node] == self.reached)
        {
            let is_kept = self.tree.tokens()[node] == token;
            verdicts.push(Verdict { node, is_kept });
            if is_kept {
                next = Some(node);
            }
        }
        self.reached = next.unwrap_or(self.reached);
        next.is_some()
    }
}

/// The chance that a node follows its parent, as its drafter says; what is no chance at all counts as none.
pub(crate) fn chance(tree: &DraftTree, node: Node) -> f32 {
    let survival = tree.survival();
    let chance = survival[node] / survival[tree.parents()[node]];
    Some(chance)
        .filter(|chance| (0.0..=1.0).contains(chance))
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_judged_as_far_as_the_text_follows() {
        // 10 -> 11 -> 13, 10 -> 12, 13 -> 14
        let mut tree = DraftTree::new(10);
        for (parent, token, survival) in
            [(0, 11, 0.5), (0, 12, 0.3), (1, 13, 0.25), (3, 14, f32::NAN)]
        {
            tree.push(parent, token, survival, "test");
        }
        let chances: Vec<f32> = (1..5).map(|node| chance(&tree, node)).collect();
        assert_eq!(chances, [0.5, 0.3, 0.5, 0.0]);
        let verdict = |node, is_kept| Verdict { node, is_kept };
        let cases: [(&[Token], &[Verdict]); 3] = [
            (&[9], &[verdict(1, false), verdict(2, false)]),
            (&[12, 5], &[verdict(1, false), verdict(2, true)]),
            (
                &[11, 13, 7],
                &[
                    verdict(1, true),
                    verdict(2, false),
                    verdict(3, true),
                    verdict(4, false),
                ],
            ),
        ];
        for (text, want) in cases {
            let (mut shadow, mut verdicts) = (Shadow::new(tree.clone()), Vec::new());
            let (last, followed) = text.split_last().unwrap();
            for &token in followed {
                assert!(shadow.follow(token, &mut verdicts), "{text:?}");
            }
            assert!(!shadow.follow(*last, &mut verdicts), "{text:?}");
            assert_eq!(verdicts, want, "{text:?}");
        }
    }
}
