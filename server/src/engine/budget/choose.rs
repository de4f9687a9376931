//! The best nodes over the whole batch.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Prices, Step};

/// What is taken of one tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) num_nodes: usize,
    /// Tokens that these nodes are expected to bring.
    pub(crate) worth: f32,
    /// What their rows add to the forward.
    pub(crate) seconds: f64,
}

/// Takes as many nodes as are worth most, less what their time would bring otherwise, and those that are forced.
///
/// `worths`: by tree and node, the chance that it is reached and kept. Trees are cut, not pruned, so a tree's nodes are
/// taken in their order.
pub(crate) fn choose(
    prices: &Prices,
    step: &Step,
    worths: &[Vec<f32>],
    tokens_per_second: f64,
) -> Vec<Choice> {
    let mut rows_left = step.num_draft_rows;
    let mut forced = Taken::new(prices, step, worths);
    for (index, candidate) in step.candidates.iter().enumerate() {
        let num_nodes = worths[index].len() - 1;
        let least = candidate.min_draft_tokens.min(num_nodes).min(rows_left);
        (0..least).for_each(|_| forced.take(index));
        rows_left -= least;
    }
    let mut all = forced.clone();
    let mut open: BinaryHeap<Offer> = (0..worths.len())
        .filter_map(|index| all.offer(index))
        .collect();
    let mut order = Vec::new();
    // Prices rise in steps, so what is worth too little alone may be worth it together with what comes after.
    let (mut best, mut best_len) = (0.0, 0);
    for rows_left in (1..=rows_left).rev() {
        let Some(Offer { worth, index }) = open.pop() else {
            break;
        };
        let value = |taken: &Taken<'_>| taken.worth - tokens_per_second * taken.seconds;
        let most = value(&all) - value(&forced) + f64::from(worth) * rows_left as f64;
        if most <= best {
            break;
        }
        all.take(index);
        order.push(index);
        open.extend(all.offer(index));
        if value(&all) - value(&forced) > best {
            best = value(&all) - value(&forced);
            best_len = order.len();
        }
    }
    order.truncate(best_len);
    order.into_iter().for_each(|index| forced.take(index));
    forced.choices
}

/// What is taken of all trees.
#[derive(Clone)]
struct Taken<'a> {
    prices: &'a Prices,
    step: &'a Step,
    worths: &'a [Vec<f32>],
    choices: Vec<Choice>,
    num_rows: usize,
    worth: f64,
    seconds: f64,
}

impl<'a> Taken<'a> {
    fn new(prices: &'a Prices, step: &'a Step, worths: &'a [Vec<f32>]) -> Self {
        Self {
            prices,
            step,
            worths,
            choices: vec![Choice::default(); worths.len()],
            num_rows: step.load.num_rows,
            worth: 0.0,
            seconds: 0.0,
        }
    }

    /// Takes a tree's next node.
    fn take(&mut self, index: usize) {
        let num_keys = self.step.candidates[index].context_len;
        let mut seconds = self.prices.next_row(self.num_rows, num_keys);
        if self.num_rows == self.step.load.num_rows {
            seconds += self.prices.any_draft();
        }
        let choice = &mut self.choices[index];
        choice.num_nodes += 1;
        let worth = self.worths[index][choice.num_nodes];
        choice.worth += worth;
        choice.seconds += seconds;
        self.num_rows += 1;
        self.worth += f64::from(worth);
        self.seconds += seconds;
    }

    fn offer(&self, index: usize) -> Option<Offer> {
        let worth = *self.worths[index].get(self.choices[index].num_nodes + 1)?;
        Some(Offer { worth, index })
    }
}

/// The next node of a tree; the best comes first, and of equals the first sequence's.
#[derive(Clone, Copy, Debug)]
struct Offer {
    worth: f32,
    index: usize,
}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_worth = self.worth.total_cmp(&other.worth);
        by_worth.then(other.index.cmp(&self.index))
    }
}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Offer {}

#[cfg(test)]
mod tests {
    use foretoken_model::SeqId;

    use super::super::{Candidate, Load};
    use super::*;

    /// Two sequences' trees of these worths, with so many forced; what is taken of each.
    fn taken(
        curve: &[(usize, f64)],
        worths: [&[f32]; 2],
        forced: [usize; 2],
        rows: usize,
    ) -> [usize; 2] {
        let candidate = |index: usize| Candidate {
            seq: SeqId(index as u64),
            drafter: Some("test"),
            is_greedy: true,
            is_first: false,
            context_len: 100,
            min_draft_tokens: forced[index],
        };
        let step = Step {
            candidates: vec![candidate(0), candidate(1)],
            load: Load {
                num_rows: 2,
                ..Load::default()
            },
            num_draft_rows: rows,
        };
        let worths = worths.map(|worths| [&[1.0], worths].concat());
        let choices = choose(
            &Prices::new(curve, 0.0, 0.0),
            &step,
            &worths,
            2.0 / curve[0].1,
        );
        [choices[0].num_nodes, choices[1].num_nodes]
    }

    #[test]
    fn nodes_are_taken_while_they_bring_more_than_their_time_would() {
        // Two tokens in 10 ms; a row more costs 2 ms, which would bring 0.4 tokens.
        let line: &[(usize, f64)] = &[(2, 0.010), (12, 0.030)];
        // The first four rows are free, the fifth costs a lot, seven more are free again.
        let stairs: &[(usize, f64)] = &[(2, 0.010), (6, 0.010), (7, 0.014), (14, 0.014)];
        let free: &[(usize, f64)] = &[(1, 1.0)];
        type Case<'a> = (
            &'a [(usize, f64)],
            [&'a [f32]; 2],
            [usize; 2],
            usize,
            [usize; 2],
        );
        let cases: [Case<'_>; 9] = [
            (line, [&[0.9, 0.5, 0.3], &[0.41]], [0, 0], 99, [2, 1]),
            (line, [&[0.3, 0.1], &[0.2]], [0, 0], 99, [0, 0]),
            (line, [&[0.3, 0.1], &[0.2]], [1, 1], 99, [1, 1]),
            (line, [&[0.3, 0.1], &[0.2]], [9, 9], 2, [2, 0]),
            (line, [&[0.9, 0.8], &[0.7]], [0, 0], 2, [2, 0]),
            (line, [&[], &[]], [3, 3], 9, [0, 0]),
            (stairs, [&[0.2; 4], &[]], [0, 0], 99, [4, 0]),
            // 0.8 tokens would be lost by the stair; six nodes behind it are worth 0.9.
            (stairs, [&[0.15; 10], &[0.15; 2]], [0, 0], 99, [10, 2]),
            (free, [&[0.01; 3], &[0.0; 3]], [0, 0], 99, [3, 0]),
        ];
        for (index, (curve, worths, forced, rows, want)) in cases.into_iter().enumerate() {
            assert_eq!(taken(curve, worths, forced, rows), want, "case {index}");
        }
    }
}
