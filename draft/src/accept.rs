//! Sample, then follow: how a tree is checked without changing what is said.

use foretoken_model::Token;

use crate::tree::{DraftTree, Node};

/// What the target kept of a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Nodes from the root down; the root is always kept.
    pub path: Vec<Node>,
    /// The target's own token after the path.
    pub bonus: Token,
}

/// Follows the target down the tree. `sample(node)` is the token the target puts after `node`.
///
/// Every emitted token is the target's own sample, drawn with noise that depends on seed and position alone, so the
/// output is a function of prompt and seed, whatever drafted: no draft probabilities, no residual distribution.
/// Drafter-invariant speculative decoding: Daliri, Musco, Suresh, arXiv 2408.07978.
pub fn accept(tree: &DraftTree, mut sample: impl FnMut(Node) -> Token) -> Accepted {
    let mut path = vec![DraftTree::ROOT];
    let mut node = DraftTree::ROOT;
    loop {
        let token = sample(node);
        match tree.child(node, token) {
            Some(child) => {
                path.push(child);
                node = child;
            }
            None => return Accepted { path, bonus: token },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// root 0 -> {a: 1 -> {c: 3}, b: 2 -> {d: 4}}, tokens 10 * node.
    fn tree() -> DraftTree {
        let mut tree = DraftTree::new(0);
        for (parent, token) in [(0, 10), (0, 20), (1, 30), (2, 40)] {
            tree.push(parent, token, 0.5, "test").unwrap();
        }
        tree
    }

    #[test]
    fn the_path_goes_as_far_as_the_target_agrees() {
        type Case = (&'static [(Node, Token)], &'static [Node], Token);
        let cases: [Case; 4] = [
            (&[(0, 10), (1, 30), (3, 7)], &[0, 1, 3], 7),
            (&[(0, 20), (2, 40), (4, 8)], &[0, 2, 4], 8),
            (&[(0, 20), (2, 30)], &[0, 2], 30),
            (&[(0, 30)], &[0], 30),
        ];
        for (samples, path, bonus) in cases {
            let mut asked = samples.iter();
            let accepted = accept(&tree(), |node| {
                let &(expected, token) = asked.next().unwrap();
                assert_eq!(node, expected);
                token
            });
            assert_eq!(
                accepted,
                Accepted {
                    path: path.to_vec(),
                    bonus
                }
            );
            assert!(asked.next().is_none(), "only nodes on the path are sampled");
        }
    }
}
