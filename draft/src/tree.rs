//! The draft tree: guesses at the next tokens, checked in one forward.

use foretoken_model::Token;

/// A node of a draft tree: its index, which is also its row in the forward.
pub type Node = usize;

/// Draft tokens as a tree under the last committed token.
///
/// The root is node 0: the last committed token, whose keys and values are not computed yet. Parents stand before
/// children, so a prefix of a tree is a tree, and at most [`DraftTree::MAX_NODES`] nodes let a row of the tree mask
/// be one `u64`. A chain is a tree; a tree of the root alone is plain decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftTree {
    tokens: Vec<Token>,
    parents: Vec<Node>,
    ancestors: Vec<u64>,
    survival: Vec<f32>,
    sources: Vec<Option<&'static str>>,
}

impl DraftTree {
    /// The root's index.
    pub const ROOT: Node = 0;

    /// Nodes that a tree may hold, the root included.
    pub const MAX_NODES: usize = 64;

    /// A tree of the root alone.
    pub fn new(root: Token) -> Self {
        Self {
            tokens: vec![root],
            parents: vec![Self::ROOT],
            ancestors: vec![1],
            survival: vec![1.0],
            sources: vec![None],
        }
    }

    /// The same, with room for so many draft tokens.
    pub fn with_capacity(root: Token, num_draft_tokens: usize) -> Self {
        let more = num_draft_tokens.min(Self::MAX_NODES - 1);
        let mut tree = Self::new(root);
        tree.tokens.reserve_exact(more);
        tree.parents.reserve_exact(more);
        tree.ancestors.reserve_exact(more);
        tree.survival.reserve_exact(more);
        tree.sources.reserve_exact(more);
        tree
    }

    /// Adds a guess that `token` follows `parent`, `survival` being the chance that it is reached and kept.
    ///
    /// None if the tree is full, `parent` is not in it, or the parent already has this child: a sibling's twin could
    /// never be told apart.
    pub fn push(
        &mut self,
        parent: Node,
        token: Token,
        survival: f32,
        source: &'static str,
    ) -> Option<Node> {
        let node = self.num_nodes();
        if node >= Self::MAX_NODES || parent >= node || self.child(parent, token).is_some() {
            return None;
        }
        self.tokens.push(token);
        self.parents.push(parent);
        self.ancestors.push(self.ancestors[parent] | 1 << node);
        self.survival.push(survival);
        self.sources.push(Some(source));
        Some(node)
    }

    /// Keeps the first `num_draft_tokens` nodes beside the root.
    pub fn truncate(&mut self, num_draft_tokens: usize) {
        let len = num_draft_tokens + 1;
        self.tokens.truncate(len);
        self.parents.truncate(len);
        self.ancestors.truncate(len);
        self.survival.truncate(len);
        self.sources.truncate(len);
    }

    /// The child of `parent` that carries `token`.
    pub fn child(&self, parent: Node, token: Token) -> Option<Node> {
        (parent + 1..self.num_nodes())
            .find(|&node| self.parents[node] == parent && self.tokens[node] == token)
    }

    /// Nodes, the root included.
    pub fn num_nodes(&self) -> usize {
        self.tokens.len()
    }

    /// Nodes beside the root.
    pub fn num_draft_tokens(&self) -> usize {
        self.tokens.len() - 1
    }

    /// Tokens by node; the root's is the last committed one.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Parents by node; the root is its own.
    pub fn parents(&self) -> &[Node] {
        &self.parents
    }

    /// The tree mask by node: bit n is set if node n is an ancestor, or the node itself.
    pub fn ancestors(&self) -> &[u64] {
        &self.ancestors
    }

    /// By node, the chance that it is reached and kept.
    pub fn survival(&self) -> &[f32] {
        &self.survival
    }

    /// Who proposed `node`; none for the root.
    pub fn source(&self, node: Node) -> Option<&'static str> {
        self.sources[node]
    }

    /// Levels between the root and `node`.
    pub fn depth(&self, node: Node) -> usize {
        self.ancestors[node].count_ones() as usize - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mask as a picture: one line a node, `x` where it sees.
    fn mask(tree: &DraftTree) -> Vec<String> {
        let see = |row: u64| {
            (0..tree.num_nodes()).map(move |n| if row >> n & 1 == 1 { 'x' } else { '.' })
        };
        tree.ancestors()
            .iter()
            .map(|&row| see(row).collect())
            .collect()
    }

    #[test]
    fn the_mask_shows_each_node_its_ancestors_and_itself() {
        let mut tree = DraftTree::new(9);
        let a = tree.push(DraftTree::ROOT, 1, 0.5, "test").unwrap();
        let b = tree.push(DraftTree::ROOT, 2, 0.4, "test").unwrap();
        let c = tree.push(a, 3, 0.3, "test").unwrap();
        tree.push(b, 3, 0.2, "test").unwrap();
        tree.push(c, 4, 0.1, "test").unwrap();
        assert_eq!(
            mask(&tree),
            ["x.....", "xx....", "x.x...", "xx.x..", "x.x.x.", "xx.x.x"]
        );
        assert_eq!(
            (0..6).map(|n| tree.depth(n)).collect::<Vec<_>>(),
            [0, 1, 1, 2, 2, 3]
        );
        tree.truncate(3);
        assert_eq!(mask(&tree), ["x...", "xx..", "x.x.", "xx.x"]);
    }

    #[test]
    fn what_could_not_be_followed_is_not_taken() {
        let mut tree = DraftTree::new(9);
        assert_eq!(tree.push(1, 1, 0.5, "test"), None, "no such parent");
        assert_eq!(tree.push(0, 1, 0.5, "test"), Some(1));
        assert_eq!(tree.push(0, 1, 0.5, "test"), None, "a twin");
        for token in 2..64 {
            assert!(tree.push(0, token, 0.5, "test").is_some());
        }
        assert_eq!(tree.push(0, 64, 0.5, "test"), None, "full");
        assert_eq!(tree.num_nodes(), DraftTree::MAX_NODES);
    }
}
