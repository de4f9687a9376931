//! The paper's draft maker: Monte Carlo tree search with PUCT, then the most visited prefixes.
//!
//! Constants and steps are those of the published program (liuxukun2000/Adaptix), but for one error: there a path is
//! scored by the chances of its tokens' predecessors. What it draws at random is drawn by the text, so that a text always
//! gets the same tree, and its nodes lie in one list that is kept between trees.

use foretoken_model::{Token, split_mix64};

use crate::drafter::Context;
use crate::ranking::Successor;
use crate::tree::{DraftTree, Node};

const ITERATIONS: usize = 150;

/// Levels below the root that are searched; the likeliest next token is put behind.
const LEVELS: usize = 3;
const MAX_DEPTH: usize = LEVELS + 1;

/// Prefixes that are kept, at first.
const TOP: usize = 24;

/// Tokens of all paths together, and nodes of a tree.
const NUM_DRAFT: usize = 64;

const C1: f32 = 32.0;
const C2: f32 = 8.0;

/// Grows trees by search. Its lists is kept between trees.
#[derive(Debug, Default)]
pub struct Mcts {
    nodes: Vec<SearchNode>,
    guesses: Vec<Successor>,
    paths: Vec<Path>,
    prefixes: Vec<Path>,
}

/// A node of the search; the first is the root.
#[derive(Clone, Copy, Debug, Default)]
struct SearchNode {
    parent: usize,
    depth: usize,
    token: Token,
    /// After its parent.
    chance: f32,
    first_child: usize,
    num_children: usize,
    num_visits: u32,
    score: f32,
}

/// Tokens below the root, the last one with its survival.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Path {
    tokens: [Token; MAX_DEPTH],
    /// Of each of the tokens.
    survival: [f32; MAX_DEPTH],
    len: usize,
    num_visits: u32,
}

impl Mcts {
    /// Grows one tree in the name of `source`. `guess(last, depth, guesses)` says what may follow `last`, a text's last
    /// two tokens or its only one, which end `depth` levels below the root: no token twice, the likeliest first.
    pub fn make(
        &mut self,
        context: &Context<'_>,
        source: &'static str,
        mut guess: impl FnMut(&[Token], usize, &mut Vec<Successor>),
    ) -> DraftTree {
        let root = context.root();
        let before = context.tokens.iter().nth_back(1).copied();
        let mut guess = |last: [Token; 2], depth, guesses: &mut Vec<Successor>| match before {
            None if depth == 0 => guess(&last[1..], depth, guesses),
            _ => guess(&last, depth, guesses),
        };
        let first = [before.unwrap_or_default(), root];
        self.search(first, context, &mut guess);
        self.collect(first, context, &mut guess);
        self.pack(DraftTree::new(root), context.max_draft_tokens, source)
    }

    /// Searches: selects, expands, rolls out, and counts what came of it.
    fn search(
        &mut self,
        first: [Token; 2],
        context: &Context<'_>,
        guess: &mut impl FnMut([Token; 2], usize, &mut Vec<Successor>),
    ) {
        let num_levels = LEVELS.min(context.max_draft_depth);
        let mut random = Random::new(first, context.tokens.len());
        self.nodes.clear();
        self.nodes.push(SearchNode {
            token: first[1],
            chance: 1.0,
            ..SearchNode::default()
        });
        for _ in 0..ITERATIONS {
            let mut node = self.select();
            if self.nodes[node].depth < num_levels {
                guess(
                    self.last(node, first[0]),
                    self.nodes[node].depth,
                    &mut self.guesses,
                );
                node = self.expand(node);
            }
            let mut score = 1.0 + self.path_score(node);
            let mut last = self.last(node, first[0]);
            for depth in self.nodes[node].depth..num_levels {
                guess(last, depth, &mut self.guesses);
                let Some(drawn) = random.draw(&self.guesses) else {
                    break;
                };
                score += drawn.chance;
                last = [last[1], drawn.token];
            }
            self.count(node, score);
        }
    }

    /// The node that the visits lead to: from the root to the best child until there is none.
    fn select(&self) -> usize {
        let mut node = 0;
        while self.nodes[node].num_children > 0 {
            let children = self.children(node);
            // Of equals the first: those that were never visited come in order.
            let (mut best, mut highest) = (children.start, f32::NEG_INFINITY);
            for child in children {
                let value = self.puct(child, self.nodes[node].num_visits as f32);
                if value > highest {
                    (best, highest) = (child, value);
                }
            }
            node = best;
        }
        node
    }

    /// Chance and curiosity, as in AlphaZero.
    fn puct(&self, child: usize, num_parent_visits: f32) -> f32 {
        let child = &self.nodes[child];
        if child.num_visits == 0 {
            return f32::INFINITY;
        }
        let num_visits = child.num_visits as f32;
        let curiosity = C1 + ((num_parent_visits + C2 + 1.0) / C2).ln();
        child.score / num_visits
            + curiosity * child.chance * num_parent_visits.sqrt() / (1.0 + num_visits)
    }

    /// Makes all guesses children of a node; the last of them, or the node itself if there is none.
    fn expand(&mut self, parent: usize) -> usize {
        let (first_child, depth) = (self.nodes.len(), self.nodes[parent].depth + 1);
        self.nodes
            .extend(self.guesses.iter().map(|guess| SearchNode {
                parent,
                depth,
                token: guess.token,
                chance: guess.chance,
                ..SearchNode::default()
            }));
        self.nodes[parent].first_child = first_child;
        self.nodes[parent].num_children = self.guesses.len();
        match self.guesses.is_empty() {
            true => parent,
            false => self.nodes.len() - 1,
        }
    }

    /// The sum of the chances down to a node.
    fn path_score(&self, mut node: usize) -> f32 {
        let mut sum = 0.0;
        while node != 0 {
            sum += self.nodes[node].chance;
            node = self.nodes[node].parent;
        }
        sum
    }

    /// Puts a score down to a node and all above it.
    fn count(&mut self, mut node: usize, score: f32) {
        loop {
            self.nodes[node].num_visits += 1;
            self.nodes[node].score += score;
            if node == 0 {
                return;
            }
            node = self.nodes[node].parent;
        }
    }

    /// The paths to the most visited nodes, each with its likeliest next token behind.
    fn collect(
        &mut self,
        first: [Token; 2],
        context: &Context<'_>,
        guess: &mut impl FnMut([Token; 2], usize, &mut Vec<Successor>),
    ) {
        self.paths.clear();
        self.collect_below(0, Path::default());
        self.paths
            .sort_by_key(|path| std::cmp::Reverse(path.num_visits));
        self.paths.truncate(TOP);
        for path in &mut self.paths {
            if path.len < context.max_draft_depth.min(MAX_DEPTH) {
                guess(path.last(first), path.len, &mut self.guesses);
                if let Some(&next) = self.guesses.first() {
                    *path = path.with(next.token, next.chance, path.num_visits);
                }
            }
        }
    }

    /// The paths below a node, depth first.
    fn collect_below(&mut self, node: usize, path: Path) {
        for child in self.children(node) {
            let SearchNode {
                token,
                chance,
                num_visits,
                ..
            } = self.nodes[child];
            let path = path.with(token, chance, num_visits);
            self.paths.push(path);
            self.collect_below(child, path);
        }
    }

    /// The paths as a tree. What is too much goes as in the paper, the longest paths, then the deepest nodes; what is
    /// more than `max_nodes` goes by chance.
    fn pack(&mut self, mut tree: DraftTree, max_nodes: usize, source: &'static str) -> DraftTree {
        let mut num_nodes: usize = self.paths.iter().map(|path| path.len).sum();
        while num_nodes > NUM_DRAFT {
            let longest = (0..self.paths.len()).max_by_key(|&index| self.paths[index].len);
            let Some(longest) = longest else { break };
            num_nodes -= self.paths.remove(longest).len;
        }
        self.prefixes.clear();
        for path in &self.paths {
            self.prefixes
                .extend((1..=path.len).map(|len| path.prefix(len)));
        }
        self.prefixes.sort_by_key(|path| (path.len, path.tokens));
        self.prefixes.dedup_by_key(|path| (path.len, path.tokens));
        self.prefixes.truncate(NUM_DRAFT);
        // A budget cuts a tree at its end, so what is likeliest stands first.
        self.prefixes
            .sort_by(|a, b| b.end_survival().total_cmp(&a.end_survival()));
        for path in self.prefixes.iter().take(max_nodes) {
            let (&token, above) = match path.tokens[..path.len].split_last() {
                Some(split) => split,
                None => continue,
            };
            let parent = above
                .iter()
                .try_fold(DraftTree::ROOT, |node: Node, &token| {
                    tree.child(node, token)
                });
            if let Some(parent) = parent {
                tree.push(parent, token, path.end_survival(), source);
            }
        }
        tree
    }

    fn children(&self, node: usize) -> std::ops::Range<usize> {
        let first = self.nodes[node].first_child;
        first..first + self.nodes[node].num_children
    }

    /// The last two tokens at a node, where `before` stands before the root.
    fn last(&self, node: usize, before: Token) -> [Token; 2] {
        let above = match node {
            0 => before,
            _ => self.nodes[self.nodes[node].parent].token,
        };
        [above, self.nodes[node].token]
    }
}

impl Path {
    fn with(mut self, token: Token, chance: f32, num_visits: u32) -> Self {
        self.tokens[self.len] = token;
        self.survival[self.len] = self.end_survival() * chance.min(1.0);
        self.len += 1;
        self.num_visits = num_visits;
        self
    }

    fn prefix(&self, len: usize) -> Self {
        let mut prefix = *self;
        prefix.tokens[len..].fill(0);
        prefix.len = len;
        prefix
    }

    fn end_survival(&self) -> f32 {
        match self.len {
            0 => 1.0,
            len => self.survival[len - 1],
        }
    }

    /// The last two tokens, where `first` stands before the path.
    fn last(&self, first: [Token; 2]) -> [Token; 2] {
        match *self.tokens[..self.len].as_ref() {
            [] => first,
            [token] => [first[1], token],
            [.., a, b] => [a, b],
        }
    }
}

/// Numbers that look random and depend on a text's end alone.
struct Random {
    seed: u64,
    num_drawn: u64,
}

impl Random {
    fn new([before, last]: [Token; 2], len: usize) -> Self {
        let text = u64::from(before) << 32 | u64::from(last);
        Self {
            seed: text ^ (len as u64).rotate_left(48),
            num_drawn: 0,
        }
    }

    /// One of the guesses, by its chance among them.
    fn draw(&mut self, guesses: &[Successor]) -> Option<Successor> {
        let total: f32 = guesses.iter().map(|guess| guess.chance).sum();
        let mut left = total * self.next();
        let reached = guesses.iter().find(|guess| {
            left -= guess.chance;
            left < 0.0
        });
        reached.or(guesses.last()).copied()
    }

    /// From 0 to 1.
    fn next(&mut self) -> f32 {
        self.num_drawn += 1;
        (split_mix64(self.seed, self.num_drawn) >> 40) as f32 / (1 << 24) as f32
    }
}

#[cfg(test)]
mod tests;
