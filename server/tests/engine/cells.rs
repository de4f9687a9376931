//! The matrix of ways to answer in which nothing may differ.

use std::collections::BTreeSet;

use foretoken_model::Dtype;

pub(crate) const DRAFTERS: [&str; 11] = [
    "none", "auto", "trigram", "lookup", "infini", "chimera", "model", "wrong", "right", "hidden",
    "mix",
];
pub(crate) const BUDGETS: [usize; 4] = [1, 4, 16, 63];
pub(crate) const TEMPERATURES: [f32; 4] = [0.0, 0.7, 1.0, 1.3];
pub(crate) const DTYPES: [Dtype; 2] = [Dtype::Float32, Dtype::Bfloat16];
pub(crate) const CHUNKS: [usize; 2] = [512, 7];

/// One way of answering, by its place in each list above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) drafter: usize,
    pub(crate) budget: usize,
    pub(crate) temperature: usize,
    pub(crate) filters: usize,
    pub(crate) crowd: usize,
    pub(crate) chunk: usize,
    pub(crate) dtype: usize,
}

/// Levels of each factor, in the order of the fields of `Cell`.
const LEVELS: [usize; 7] = [
    DRAFTERS.len(),
    BUDGETS.len(),
    TEMPERATURES.len(),
    2,
    2,
    CHUNKS.len(),
    DTYPES.len(),
];

impl Cell {
    pub(crate) fn new(
        [drafter, budget, temperature, filters, crowd, chunk, dtype]: [usize; 7],
    ) -> Self {
        Self {
            drafter,
            budget,
            temperature,
            filters,
            crowd,
            chunk,
            dtype,
        }
    }

    /// All cells there are.
    pub(crate) fn all() -> Vec<[usize; 7]> {
        let num_cells = LEVELS.iter().product();
        let cell = |mut index: usize| {
            LEVELS.map(|levels| {
                let level = index % levels;
                index /= levels;
                level
            })
        };
        (0..num_cells).map(cell).collect()
    }

    /// Few cells in which every level of every factor meets every level of every other.
    pub(crate) fn pairwise() -> Vec<[usize; 7]> {
        let pairs_of = |cell: [usize; 7]| {
            let pair = move |a: usize, b: usize| (a, cell[a], b, cell[b]);
            (0..7).flat_map(move |a| (a + 1..7).map(move |b| pair(a, b)))
        };
        let all = Self::all();
        let mut open: BTreeSet<_> = all.iter().flat_map(|&cell| pairs_of(cell)).collect();
        let mut chosen = Vec::new();
        while !open.is_empty() {
            let gain =
                |cell: &[usize; 7]| pairs_of(*cell).filter(|pair| open.contains(pair)).count();
            let best = *all.iter().max_by_key(|cell| gain(cell)).unwrap();
            pairs_of(best).for_each(|pair| _ = open.remove(&pair));
            chosen.push(best);
        }
        chosen
    }
}
