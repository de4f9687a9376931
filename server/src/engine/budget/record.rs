//! What was promised and what came: remembered long while nothing changes, and forgotten at once when it does.

/// Guesses of one kind and the hits among them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    long: Tally,
    recent: Tally,
}

/// Guesses, hits that were promised, and hits that came; older ones count less and less.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    num: f32,
    promised: f32,
    kept: f32,
}

/// Promised hits that count as recent.
const RECENT: f32 = 8.0;

/// What recent guesses count after a change: some of them came before it.
const DOUBT: f32 = 0.25;

/// Standard deviations by which the recent ones have to differ from the many.
const SURPRISE: f32 = 3.0;

impl Record {
    /// Hits that came for each that was promised, as if `prior` promised ones had come in the ratio `usual` before.
    pub(crate) fn ratio(&self, prior: f32, usual: f32) -> f32 {
        (self.long.kept + prior * usual) / (self.long.promised + prior)
    }

    /// Takes a guess in and forgets a little: in the long run `memory` promised hits are remembered, however likely
    /// each was. If the recent guesses contradict the many, little but these is remembered.
    pub(crate) fn learn(&mut self, promised: f32, is_kept: bool, memory: f32) {
        self.long.learn(promised, is_kept, memory);
        self.recent.learn(promised, is_kept, RECENT);
        let expected = self.recent.promised * self.long.kept / self.long.promised.max(1e-6);
        let chance = self.long.kept / self.long.num;
        let deviation = (expected * (1.0 - chance)).max(0.25).sqrt();
        if (self.recent.kept - expected).abs() > SURPRISE * deviation {
            self.recent = self.recent.faded(DOUBT);
            self.long = self.recent;
        }
    }
}

impl Tally {
    fn faded(self, share: f32) -> Self {
        Self {
            num: self.num * share,
            promised: self.promised * share,
            kept: self.kept * share,
        }
    }

    fn learn(&mut self, promised: f32, is_kept: bool, memory: f32) {
        let keep = 1.0 - promised.min(1.0) / memory;
        self.num = self.num * keep + 1.0;
        self.promised = self.promised * keep + promised;
        self.kept = self.kept * keep + f32::from(is_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of `num` guesses of a half, of which the last in `one_in` came true.
    fn learn(record: &mut Record, num: usize, one_in: usize) {
        for index in 1..=num {
            record.learn(0.5, index % one_in == 0, 100.0);
        }
    }

    #[test]
    fn steady_luck_is_averaged_and_a_change_is_noticed() {
        let mut record = Record::default();
        assert_eq!(record.ratio(1.0, 0.7), 0.7);
        learn(&mut record, 1000, 2);
        assert!((record.ratio(1.0, 1.0) - 1.0).abs() < 0.05, "{record:?}");
        learn(&mut record, 40, 1000);
        assert!(record.ratio(0.1, 1.0) < 0.2, "{record:?}");
        learn(&mut record, 40, 1);
        assert!(record.ratio(1.0, 1.0) > 1.3, "{record:?}");
    }
}
