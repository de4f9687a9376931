//! What a drafter's estimates are worth: how often a guess came true that was given such a chance.

use std::collections::HashMap;

use super::record::Record;

/// Whose estimates: a drafter is as good as it is at this temperature.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Author {
    pub(crate) drafter: &'static str,
    pub(crate) is_greedy: bool,
}

/// Corrects the chance that a node follows its parent, by what came of such guesses before.
#[derive(Debug, Default)]
pub(crate) struct Calibration {
    authors: HashMap<Author, Records>,
}

/// Records by claimed chance: a drafter may be right about its long shots and wrong about its best.
pub(crate) type Records = [Record; NUM_BINS];

/// Chances up to these are told apart.
const EDGES: [f32; 9] = [0.03, 0.08, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99];
const NUM_BINS: usize = EDGES.len() + 1;

/// Hits that all sequences' records remember, and guesses that a single sequence's remember.
const MEMORY: f32 = 100.0;
const SEQUENCE_MEMORY: f32 = 50.0;

/// Hits that came true as promised before anything was seen.
const PRIOR: f32 = 1.0;

/// Guesses of its own that a sequence's record needs to count as much as all sequences' do.
const SEQUENCE_PRIOR: f32 = 3.0;

/// No guess is certain.
const MOST: f32 = 0.995;

impl Calibration {
    /// The chance that a node follows its parent, of which its drafter says `chance`, in a sequence with such records
    /// of its own.
    pub(crate) fn correct(&self, author: Author, own: &Records, chance: f32) -> f32 {
        let bin = bin(chance);
        let all = self
            .authors
            .get(&author)
            .map_or(1.0, |records| records[bin].ratio(PRIOR, 1.0));
        own[bin]
            .ratio(SEQUENCE_PRIOR, (chance * all).min(1.0))
            .min(MOST)
    }

    /// Takes in what came of a guess whose parent was reached.
    pub(crate) fn learn(&mut self, author: Author, own: &mut Records, chance: f32, is_kept: bool) {
        let bin = bin(chance);
        own[bin].learn(1.0, is_kept, SEQUENCE_MEMORY);
        self.authors.entry(author).or_default()[bin].learn(chance, is_kept, MEMORY);
    }
}

fn bin(chance: f32) -> usize {
    EDGES
        .iter()
        .position(|&edge| chance <= edge)
        .unwrap_or(NUM_BINS - 1)
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
            calibration.learn(AUTHOR, &mut Records::default(), chance, comes(index));
        }
        calibration
    }

    fn correct(calibration: &Calibration, author: Author, chance: f32) -> f32 {
        calibration.correct(author, &Records::default(), chance)
    }

    #[test]
    fn chances_are_corrected_to_what_came_of_them() {
        for (chance, one_in) in [(0.9, 2), (0.5, 2), (0.02, 50), (0.2, 2), (0.6, 10)] {
            let calibration = learned(chance, 2000, |index| index % one_in == 0);
            let found = correct(&calibration, AUTHOR, chance);
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
        assert!(correct(&calibration, AUTHOR, 0.9) < 0.06);
        (0..25).for_each(|_| calibration.learn(AUTHOR, &mut Records::default(), 0.9, true));
        assert!(correct(&calibration, AUTHOR, 0.9) > 0.6);
    }

    #[test]
    fn drafters_temperatures_and_chances_are_told_apart() {
        let calibration = learned(0.9, 100, |_| false);
        let sampled = Author {
            is_greedy: false,
            ..AUTHOR
        };
        let untouched =
            |author, chance| (correct(&calibration, author, chance) - chance).abs() < 1e-6;
        assert!(untouched(sampled, 0.9));
        assert!(untouched(AUTHOR, 0.4));
    }

    #[test]
    fn a_sequence_that_differs_from_the_others_is_soon_known_by_its_own() {
        let calibration = learned(0.9, 500, |index| index % 10 == 0);
        let mut own = Records::default();
        for _ in 0..10 {
            own[bin(0.9)].learn(1.0, true, SEQUENCE_MEMORY);
        }
        assert!(calibration.correct(AUTHOR, &own, 0.9) > 0.7);
        assert!(correct(&calibration, AUTHOR, 0.9) < 0.2);
    }
}
