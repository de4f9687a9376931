//! How much of what was drafted is verified: the nodes that pay for their rows.

use std::collections::HashMap;
use std::time::Duration;

use foretoken_draft::{Accepted, DraftTree};

use crate::engine::scheduler::Plan;
use crate::engine::sequence::Sequence;

/// Weighs what a draft token is worth against what its row costs.
///
/// A node is worth its survival, corrected by how far its drafter's survivals have come true; a row costs what the
/// price list says. Nodes of the whole batch are taken best first while expected tokens per second still rise.
#[derive(Debug)]
pub(crate) struct Budget {
    prices: PriceList,
    trust: HashMap<&'static str, Trust>,
}

/// What a forward costs by its number of rows, measured at start.
#[derive(Clone, Debug, Default)]
pub(crate) struct PriceList {
    /// Rows and time, both rising.
    points: Vec<(usize, Duration)>,
}

/// What a drafter promised of late, and what came of it; older steps count less and less.
#[derive(Debug)]
struct Trust {
    promised: f32,
    accepted: f32,
}

impl Budget {
    pub(crate) fn new(prices: PriceList) -> Self {
        Self {
            prices,
            trust: HashMap::new(),
        }
    }

    /// Cuts the trees to the nodes that pay, but none below its request's `min_draft_tokens` while the step has rows.
    /// Trees are in order of falling survival, so a cut keeps the best nodes.
    pub(crate) fn select(&self, plan: &Plan, trees: &mut [DraftTree]) {
        let mut rows_left = plan.num_draft_rows;
        let least = |(sequence, tree): (&Sequence, &DraftTree)| {
            let least = sequence
                .speculation
                .min_draft_tokens
                .min(tree.num_draft_tokens())
                .min(rows_left);
            rows_left -= least;
            least
        };
        let mut kept: Vec<usize> = plan.rooted().zip(&*trees).map(least).collect();
        let forced: usize = kept.iter().sum();
        let mut num_rows = forced
            + plan
                .scheduled
                .iter()
                .map(|scheduled| scheduled.num_rows)
                .sum::<usize>();
        let mut expected = trees.len() as f32;
        for (tree, &kept) in trees.iter().zip(&kept) {
            expected += (1..=kept).map(|node| self.worth(tree, node)).sum::<f32>();
        }
        for _ in forced..plan.num_draft_rows {
            let next = |index: usize| {
                let node = kept[index] + 1;
                (node < trees[index].num_nodes()).then(|| (self.worth(&trees[index], node), index))
            };
            let best = (0..trees.len())
                .filter_map(next)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((worth, index)) = best else { break };
            // (expected + worth) / price(rows + 1) > expected / price(rows), without the divisions.
            let gain = (expected + worth) * self.prices.price(num_rows);
            if gain <= expected * self.prices.price(num_rows + 1) {
                break;
            }
            kept[index] += 1;
            num_rows += 1;
            expected += worth;
        }
        for (tree, kept) in trees.iter_mut().zip(kept) {
            tree.truncate(kept);
        }
    }

    /// Compares what verified trees promised with what was accepted.
    pub(crate) fn learn(&mut self, trees: &[DraftTree], accepted: &[Accepted]) {
        for (tree, accepted) in trees.iter().zip(accepted) {
            let Some(source) = tree.source(tree.num_draft_tokens()) else {
                continue;
            };
            let trust = self.trust.entry(source).or_default();
            trust.promised = trust.promised * FORGET
                + (1..tree.num_nodes())
                    .map(|node| promise(tree, node))
                    .sum::<f32>();
            trust.accepted = trust.accepted * FORGET + (accepted.path.len() - 1) as f32;
        }
    }

    /// The chance that a node is reached and kept, as far as its drafter is to be believed.
    fn worth(&self, tree: &DraftTree, node: usize) -> f32 {
        let trust = tree.source(node).and_then(|source| self.trust.get(source));
        (promise(tree, node) * trust.map_or(1.0, Trust::factor)).min(1.0)
    }
}

/// What the drafter says of a node, if it is a chance at all: NaN promises nothing.
fn promise(tree: &DraftTree, node: usize) -> f32 {
    Some(tree.survival()[node])
        .filter(|survival| (0.0..=1.0).contains(survival))
        .unwrap_or(0.0)
}

/// How much of the past a verify keeps: a workload is known within tens of steps.
const FORGET: f32 = 0.97;

impl Default for Trust {
    fn default() -> Self {
        // As if some promises had come true, so that the first steps do not decide everything.
        Self {
            promised: 4.0,
            accepted: 4.0,
        }
    }
}

impl Trust {
    /// Never so little that nothing of the drafter's is tried again.
    fn factor(&self) -> f32 {
        ((self.accepted + 0.5) / (self.promised + 0.5)).clamp(0.1, 2.0)
    }
}

impl PriceList {
    /// Prices out of measurements, by rising rows; what cannot be, more rows for less time, is evened out.
    pub(crate) fn new(measured: Vec<(usize, Duration)>) -> Self {
        let mut points = measured;
        for index in 1..points.len() {
            points[index].1 = points[index].1.max(points[index - 1].1);
        }
        Self { points }
    }

    /// Seconds that a forward of `num_rows` takes; between and beyond the measured points on straight lines.
    fn price(&self, num_rows: usize) -> f32 {
        let point = |index: usize| {
            let (rows, time): (usize, Duration) = self.points[index];
            (rows as f32, time.as_secs_f32())
        };
        match self.points.len() {
            // Nothing is known: rows are free, and only the limits count.
            0 => 1.0,
            1 => point(0).1,
            len => {
                let after = self
                    .points
                    .partition_point(|&(rows, _)| rows < num_rows)
                    .clamp(1, len - 1);
                let ((x0, y0), (x1, y1)) = (point(after - 1), point(after));
                y0 + (y1 - y0) * (num_rows as f32 - x0) / (x1 - x0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_lie_on_straight_lines_and_never_fall() {
        let ms = Duration::from_millis;
        let list = PriceList::new(vec![(1, ms(10)), (3, ms(8)), (5, ms(30))]);
        for (rows, price) in [
            (1, 0.010),
            (2, 0.010),
            (3, 0.010),
            (4, 0.020),
            (5, 0.030),
            (7, 0.050),
        ] {
            assert!(
                (list.price(rows) - price).abs() < 1e-6,
                "{rows}: {}",
                list.price(rows)
            );
        }
        assert_eq!(PriceList::default().price(9), PriceList::default().price(1));
    }

    #[test]
    fn a_drafter_is_believed_as_far_as_its_promises_come_true() {
        let mut budget = Budget::new(PriceList::default());
        let mut tree = DraftTree::new(0);
        tree.push(0, 1, 0.8, "test");
        let (kept, lost) = (vec![0, 1], vec![0]);
        let learn = |budget: &mut Budget, path: &[usize]| {
            let accepted = Accepted {
                path: path.to_vec(),
                bonus: 0,
            };
            (0..100).for_each(|_| {
                budget.learn(std::slice::from_ref(&tree), std::slice::from_ref(&accepted))
            });
            budget.worth(&tree, 1)
        };
        assert!(learn(&mut budget, &kept) > 0.9);
        let worth = learn(&mut budget, &lost);
        assert!(worth < 0.2 && worth > 0.0, "{worth}");
    }
}
