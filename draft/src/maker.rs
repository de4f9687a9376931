//! The draft maker: best first, until the tree is full.

use foretoken_model::Token;

use crate::drafter::Context;
use crate::ranking::Successor;
use crate::tree::{DraftTree, Node};

/// Less likely nodes are not drafted: no budget pays for them.
const MIN_SURVIVAL: f32 = 5e-4;

/// Where a child would need a better chance than this to be among the nodes to come, nobody asks for children. That halves
/// the work at a temperature of 1, and by replay trees are none the worse: late guesses are overrated.
const MAX_CHANCE: f32 = 0.4;

/// Grows trees from the likeliest node on. Its scratch is kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Maker {
    /// The likeliest last; of equals, the first that was opened.
    open: Vec<OpenNode>,
    guesses: Vec<Successor>,
}

/// A node that may come next.
#[derive(Clone, Copy, Debug)]
struct OpenNode {
    survival: f32,
    parent: Node,
    token: Token,
    source: &'static str,
}

impl Maker {
    /// Grows one tree.
    ///
    /// `guess(tree, node, least, guesses)` says what may follow `node`, the latest of the tree: a few guesses, no token
    /// twice, each with its chance; one below `least` is of no use. A node is asked about after its parent.
    ///
    /// Chances are at most 1, so nodes come in the order of falling survival and none before its parent: cutting the
    /// tree off keeps the best.
    pub(crate) fn make(
        &mut self,
        context: &Context<'_>,
        mut guess: impl FnMut(&DraftTree, Node, f32, &mut Vec<Successor>),
    ) -> DraftTree {
        let mut tree = DraftTree::with_capacity(context.root(), context.max_draft_tokens);
        let mut node = DraftTree::ROOT;
        self.open.clear();
        while tree.num_draft_tokens() < context.max_draft_tokens {
            let floor = self.floor(context.max_draft_tokens - tree.num_draft_tokens());
            let survival = tree.survival()[node];
            let least = floor / survival;
            if tree.depth(node) < context.max_draft_depth && least < MAX_CHANCE {
                guess(&tree, node, least, &mut self.guesses);
                self.open(node, survival, floor);
            }
            let Some(next) = self.open.pop() else { break };
            match tree.push(next.parent, next.token, next.survival, next.source) {
                Some(pushed) => node = pushed,
                None => break,
            }
        }
        tree
    }

    /// What a node has to survive with to be among the next `num_nodes`, as far as is known.
    fn floor(&self, num_nodes: usize) -> f32 {
        let last = self.open.len().checked_sub(num_nodes);
        last.map_or(MIN_SURVIVAL, |last| self.open[last].survival)
    }

    /// Opens the guesses as children of `parent`.
    fn open(&mut self, parent: Node, reached: f32, floor: f32) {
        for guess in &self.guesses {
            let survival = reached * guess.chance;
            if survival >= floor {
                let place = self.open.partition_point(|open| open.survival < survival);
                let node = OpenNode {
                    survival,
                    parent,
                    token: guess.token,
                    source: guess.source,
                };
                self.open.insert(place, node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use foretoken_model::{BlockTable, SamplingParams, SeqId};
    use proptest::prelude::*;

    use super::*;
    use crate::drafter::{Costs, Hints};

    fn make(
        maker: &mut Maker,
        tokens: &[Token],
        (max_draft_tokens, max_draft_depth): (usize, usize),
        guess: impl FnMut(&DraftTree, Node, f32, &mut Vec<Successor>),
    ) -> DraftTree {
        let context = Context {
            seq: SeqId(1),
            tokens,
            table: BlockTable::EMPTY,
            sampling: &SamplingParams::greedy(),
            max_draft_tokens,
            max_draft_depth,
            costs: Costs::default(),
            hints: Hints::default(),
        };
        maker.make(&context, guess)
    }

    /// Guesses that depend on token and depth alone: `num` of them, their chances from a hash, at most what makers ask for.
    fn arbitrary(salt: u32, num: u32) -> impl FnMut(&DraftTree, Node, f32, &mut Vec<Successor>) {
        move |tree, node, _, guesses| {
            let last = [tree.tokens()[node], tree.depth(node) as Token];
            let hash = last.iter().fold(salt, |hash, &token| {
                (hash ^ token).wrapping_mul(0x9e37_79b1)
            });
            guesses.clear();
            guesses.extend((0..num).map(|i| {
                Successor::new(
                    hash % 5 + i,
                    (hash.rotate_left(4 * i) % 8) as f32 / 7.0 * MAX_CHANCE,
                    "test",
                )
            }));
        }
    }

    #[test]
    fn the_likeliest_node_comes_next_wherever_it_hangs() {
        // 1 -> 2 (.6) or 3 (.3); 2 -> 4 (.4); 4 -> 5 (1); 3 -> 6 (.9)
        let guess = |tree: &DraftTree, node: Node, _: f32, guesses: &mut Vec<Successor>| {
            let next: &[(Token, f32)] = match tree.tokens()[node] {
                1 => &[(2, 0.6), (3, 0.3)],
                2 => &[(4, 0.4)],
                3 => &[(6, 0.9)],
                4 => &[(5, 1.0)],
                _ => &[],
            };
            guesses.clear();
            guesses.extend(
                next.iter()
                    .map(|&(token, chance)| Successor::new(token, chance, "test")),
            );
        };
        let cases: [((usize, usize), &[Token]); 5] = [
            ((9, 9), &[1, 2, 3, 6, 4, 5]),
            // 6 would need .24 of .3, which is too much to ask for.
            ((3, 9), &[1, 2, 3, 4]),
            ((9, 2), &[1, 2, 3, 6, 4]),
            ((9, 0), &[1]),
            ((0, 9), &[1]),
        ];
        let mut maker = Maker::default();
        for (limits, want) in cases {
            let tree = make(&mut maker, &[1], limits, guess);
            // 3 (.3) stands before 6 (.27) and 4 (.24): not 3, 4, 6.
            assert_eq!(tree.tokens(), want, "{limits:?}");
        }
    }

    #[test]
    fn guesses_are_asked_for_at_the_latest_node_where_there_is_room() {
        let mut asked = Vec::new();
        let guess = |tree: &DraftTree, node: Node, _: f32, guesses: &mut Vec<Successor>| {
            asked.push((node, tree.num_nodes()));
            guesses.clear();
            let token = 10 + node as Token;
            guesses.push(Successor::new(token, 0.5, "test"));
        };
        let tree = make(&mut Maker::default(), &[7, 8, 9], (3, 3), guess);
        assert_eq!(tree.tokens(), [9, 10, 11, 12]);
        assert_eq!(asked, [(0, 1), (1, 2), (2, 3)]);
    }

    proptest! {
        #[test]
        fn trees_are_well_formed_and_the_best_stands_first(
            salt in any::<u32>(),
            num in 0..=8_u32,
            limits in (0..=63_usize, 0..=20_usize),
        ) {
            let mut maker = Maker::default();
            let tree = make(&mut maker, &[4, 2], limits, arbitrary(salt, num));
            prop_assert!(tree.num_draft_tokens() <= limits.0);
            for node in 1..tree.num_nodes() {
                let parent = tree.parents()[node];
                prop_assert!(parent < node);
                prop_assert_eq!(tree.child(parent, tree.tokens()[node]), Some(node), "no twins");
                prop_assert!(tree.depth(node) <= limits.1);
                prop_assert!(tree.survival()[node] <= tree.survival()[parent]);
                prop_assert!(tree.survival()[node] <= tree.survival()[node - 1]);
                prop_assert!(tree.survival()[node] >= MIN_SURVIVAL);
            }
            // The same again, with used scratch; and a smaller tree is the beginning of a larger one.
            prop_assert_eq!(&make(&mut maker, &[4, 2], limits, arbitrary(salt, num)), &tree);
            let mut cut = tree;
            cut.truncate(limits.0 / 2);
            let smaller = make(&mut maker, &[4, 2], (limits.0 / 2, limits.1), arbitrary(salt, num));
            prop_assert_eq!(smaller, cut);
        }
    }
}
