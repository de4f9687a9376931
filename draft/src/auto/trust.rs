//! How much each source counts in the mixture, as what came of its guesses says.

/// Where a guess is from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// The sequence itself, or what others have said.
    Text,
    /// What the client expects.
    Prediction,
    /// The corpus.
    Corpus,
}

/// Guesses that are weighted alike: of one kind, after matches of about one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Class {
    kind: Kind,
    /// Tokens that match.
    len: usize,
}

/// What came of guesses, by class.
#[derive(Debug, Default)]
pub(super) struct Trust {
    tallies: [[Tally; NUM_LENGTHS]; NUM_KINDS],
}

/// Guesses, and how much of what came is owed to them; older ones count less and less.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    num: f32,
    owed: f32,
}

const NUM_KINDS: usize = Kind::Corpus as usize + 1;

/// Lengths up to these are told apart.
const LENGTHS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
const NUM_LENGTHS: usize = LENGTHS.len() + 1;

/// Guesses that the usual weight counts for.
const PRIOR: f32 = 3.0;

/// Before anything came of them, guesses after a match of so many tokens have half the weight. Beside tri-grams, which
/// know the last two tokens, a match has little to add until it is long.
const DOUBT: f32 = 8.0;

impl Class {
    pub(super) fn new(kind: Kind, len: usize) -> Self {
        Self { kind, len }
    }

    /// The weight before anything came of such guesses.
    pub(super) fn first_weight(self) -> f32 {
        self.len as f32 / (self.len as f32 + DOUBT)
    }
}

impl Trust {
    /// The weight of a class, which usually is another.
    pub(super) fn weight(&self, class: Class, usual: f32) -> f32 {
        let Tally { num, owed } = self.tallies[class.kind as usize][length(class)];
        (owed + PRIOR * usual) / (num + PRIOR)
    }

    /// Takes in how much of what came is owed to a guess; in the long run so many guesses are remembered.
    pub(super) fn learn(&mut self, class: Class, owed: f32, memory: f32) {
        let tally = &mut self.tallies[class.kind as usize][length(class)];
        let keep = 1.0 - 1.0 / memory;
        tally.num = tally.num * keep + 1.0;
        tally.owed = tally.owed * keep + owed;
    }
}

fn length(class: Class) -> usize {
    LENGTHS.partition_point(|&longest| longest < class.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: f32 = 50.0;

    #[test]
    fn weights_go_where_what_came_is_owed() {
        let class = Class::new(Kind::Text, 5);
        assert_eq!(Trust::default().weight(class, 0.3), 0.3);
        for owed in [0.0, 0.5, 1.0] {
            let mut trust = Trust::default();
            (0..500).for_each(|_| trust.learn(class, owed, MEMORY));
            let weight = trust.weight(class, 0.3);
            assert!((weight - owed).abs() < 0.05, "{owed}: {weight}");
            assert!((0.0..1.0).contains(&weight));
        }
    }

    #[test]
    fn kinds_and_lengths_are_told_apart() {
        let mut trust = Trust::default();
        trust.learn(Class::new(Kind::Text, 5), 1.0, MEMORY);
        for (kind, len, is_known) in [
            (Kind::Text, 5, true),
            (Kind::Text, 6, true),
            (Kind::Text, 4, false),
            (Kind::Text, 7, false),
            (Kind::Text, usize::MAX, false),
            (Kind::Prediction, 5, false),
            (Kind::Corpus, 5, false),
        ] {
            let weight = trust.weight(Class::new(kind, len), 0.2);
            assert_eq!(weight > 0.2, is_known, "{kind:?} {len}");
        }
    }
}
