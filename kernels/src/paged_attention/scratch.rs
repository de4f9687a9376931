//! What a thread keeps from call to call.

use std::cell::Cell;

use super::SPAN;
use super::softmax::Running;
use super::unit::Shape;
use crate::linear::PANEL;

/// Buffers for one unit. Elements of keys and queries are kept as the words of 32 bits that a group of them fills.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Queries, one after another. `[queries, words]`
    pub(crate) queries: Vec<u32>,
    /// Keys of a span or of the tree, turned: the same word of 16 keys side by side. `[panels, words, 16]`
    pub(crate) panels: Vec<u32>,
    /// Scores of a span. `[queries]`
    pub(crate) scores: Vec<[f32; SPAN]>,
    /// Scores of the tree's slots. `[queries]`
    pub(crate) tree_scores: Vec<[f32; SPAN]>,
    /// Weighted values. `[queries, head_dim]`
    pub(crate) sums: Vec<f32>,
    /// `[queries]`
    pub(crate) running: Vec<Running>,
    /// Where the keys that are scored lie in the cache.
    pub(crate) slots: Vec<u32>,
    /// Where the next span's lie.
    pub(crate) next_slots: Vec<u32>,
    /// Where the keys of a span lie that one row sees.
    pub(crate) row_slots: Vec<u32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Scratch {
    /// Takes this thread's buffers.
    pub(crate) fn take() -> Self {
        SCRATCH.take()
    }

    /// Gives them back.
    pub(crate) fn keep(self) {
        SCRATCH.set(self);
    }

    /// Makes room for so many queries and sets their sums to nothing.
    pub(crate) fn start(&mut self, num_queries: usize, shape: Shape, num_words: usize) {
        self.queries.resize(num_queries * num_words, 0);
        self.panels.resize(SPAN / PANEL * num_words * PANEL, 0);
        self.scores.resize(num_queries, [0.0; SPAN]);
        self.tree_scores.resize(num_queries, [0.0; SPAN]);
        self.running.clear();
        self.running.resize(num_queries, Running::new());
        self.sums.clear();
        self.sums.resize(num_queries * shape.head_dim, 0.0);
    }
}
