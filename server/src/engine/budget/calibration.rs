//! What a drafter's estimates are worth: how often a guess came true that was given such a chance.

use std::collections::HashMap;

/// Whose estimates: a drafter is as good as it is at this temperature.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Author {
    pub(crate) drafter: &'static str,
    pub(crate) is_greedy: bool,
}

/// Corrects the chance that a node follows its parent, by what came of such guesses before.
#[derive(Debug, Default)]
pub(crate) struct Calibration {
    authors: HashMap<Author, [Record; NUM_BINS]>,
}

/// Guesses of one kind: the hits that were promised and those that came; older ones count less and less.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    promised: f32,
    kept: f32,
}

/// Chances up to these are told apart: a drafter may be right about its long shots and wrong about its best.
const EDGES: [f32; 9] = [0.03, 0.08, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99];
const NUM_BINS: usize = EDGES.len() + 1;

/// Promised hits that a drafter's record remembers.
const MEMORY: f32 = 20.0;

impl Calibration {
    /// The chance that a node follows its parent, of which its drafter says `chance`.
    pub(crate) fn correct(&self, author: Author, chance: f32) -> f32 {
        let ratio = self
            .authors
            .get(&author)
            .map_or(1.0, |bins| bins[bin(chance)].ratio(1.0));
        (chance * ratio).min(MOST)
    }

    /// Takes in what came of a guess whose parent was reached.
    pub(crate) fn learn(&mut self, author: Author, chance: f32, is_kept: bool) {
        self.authors.entry(author).or_default()[bin(chance)].learn(chance, is_kept, MEMORY);
    }
}

/// No guess is certain.
const MOST: f32 = 0.995;

fn bin(chance: f32) -> usize {
    EDGES
        .iter()
        .position(|&edge| chance <= edge)
        .unwrap_or(NUM_BINS - 1)
}

impl Record {
    /// Hits that came for each that was promised, as if `prior` promised ones had come true before.
    pub(crate) fn ratio(&self, prior: f32) -> f32 {
        (self.kept + prior) / (self.promised + prior)
    }

    /// Takes a guess in and forgets a little: in the long run `memory` promised hits are remembered, however likely
    /// each was.
    pub(crate) fn learn(&mut self, promised: f32, is_kept: bool, memory: f32) {
        let keep = 1.0 - promised.min(1.0) / memory;
        self.promised = self.promised * keep + promised;
        self.kept = self.kept * keep + f32::from(is_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHOR: Author = Author {
        drafter: "test",
        is_greedy: true,
    };

    /// Learns `num` guesses of a chance, of which each comes true that `comes` names.
    fn learned(chance: f32, num: usize, comes: impl Fn(usize) -> bool) -> Calibration {
        let mut calibration = Calibration::default();
        for index in 0..num {
            calibration.learn(AUTHOR, chance, comes(index));
        }
        calibration
    }

    #[test]
    fn chances_are_corrected_to_what_came_of_them() {
        for (chance, one_in) in [(0.9, 2), (0.5, 2), (0.02, 50), (0.2, 2), (0.6, 10)] {
            let found = learned(chance, 2000, |index| index % one_in == 0).correct(AUTHOR, chance);
            let truth = 1.0 / one_in as f32;
            assert!(
                (found / truth - 1.0).abs() < 0.25,
                "{chance}: {found} not {truth}"
            );
        }
    }

    #[test]
    fn what_never_comes_true_is_soon_worth_nothing_and_what_does_is_soon_believed_again() {
        let mut calibration = learned(0.9, 40, |_| false);
        assert!(calibration.correct(AUTHOR, 0.9) < 0.06);
        (0..25).for_each(|_| calibration.learn(AUTHOR, 0.9, true));
        assert!(calibration.correct(AUTHOR, 0.9) > 0.6);
    }

    #[test]
    fn drafters_temperatures_and_chances_are_told_apart() {
        let calibration = learned(0.9, 100, |_| false);
        let sampled = Author {
            is_greedy: false,
            ..AUTHOR
        };
        assert_eq!(calibration.correct(sampled, 0.9), 0.9);
        assert_eq!(calibration.correct(AUTHOR, 0.4), 0.4);
    }
}
