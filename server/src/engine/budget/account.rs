//! What drafting has really brought, by the clock.
//!
//! What a draft costs is more than what its own step takes: it pushes weights out of the processor's cache, and nodes
//! that look best are those whose luck was overrated. Whatever the other parts of the policy believe, this one counts:
//! tokens that came, against those that plain decoding would have brought in the same time.

/// Tokens won and lost by drafting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    emitted: f64,
    plain: f64,
    /// Plain steps' time that was won; what was lost counted off.
    balance: f64,
    doubt: f64,
}

/// Plain steps won or lost after which the demand is changed.
const STAKE: f64 = 10.0;

/// What the demand is changed by.
const CHANGE: f64 = 1.5;

/// The most that is demanded: a text that copies brings more than that.
const MOST_DOUBT: f64 = 4.0;

/// How much of its past a step keeps.
const FORGET: f64 = 0.97;

/// How much of the doubt a step keeps: what did not pay once is tried again.
const LASTING: f64 = 0.9997;

impl Default for Account {
    fn default() -> Self {
        Self {
            emitted: 8.0,
            plain: 8.0,
            balance: 0.0,
            doubt: 1.0,
        }
    }
}

impl Account {
    /// What drafting has made of plain decoding's speed, at least 1.
    pub(crate) fn ratio(&self) -> f64 {
        (self.emitted / self.plain).clamp(1.0, 64.0)
    }

    /// How many times its cost a draft has to bring, by what others brought.
    pub(crate) fn doubt(&self) -> f64 {
        self.doubt
    }

    /// Takes in a step of so many sequences: the tokens that came, and those that plain decoding brings in its time.
    pub(crate) fn learn(&mut self, num_seqs: usize, emitted: f64, plain: f64) {
        self.emitted = self.emitted * FORGET + emitted;
        self.plain = self.plain * FORGET + plain;
        self.balance += (emitted - plain) / num_seqs as f64;
        if self.balance.abs() > STAKE {
            let change = if self.balance < 0.0 {
                CHANGE
            } else {
                1.0 / CHANGE
            };
            self.doubt = (self.doubt * change).clamp(1.0, MOST_DOUBT);
            self.balance = 0.0;
        }
        self.doubt = 1.0 + (self.doubt - 1.0) * LASTING;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_by_the_clock_is_doubted_and_what_wins_is_not() {
        for (emitted, plain, doubted) in [(1.4, 1.6, true), (1.6, 1.4, false), (4.0, 2.0, false)] {
            let mut account = Account::default();
            (0..1000).for_each(|_| account.learn(1, emitted, plain));
            assert_eq!(
                account.doubt() > 2.0,
                doubted,
                "{emitted} {plain} {account:?}"
            );
        }
    }

    #[test]
    fn doubt_wears_off_and_goes_when_something_is_won() {
        let mut account = Account::default();
        (0..1000).for_each(|_| account.learn(1, 1.0, 1.2));
        let mut tried_again = account;
        (0..10_000).for_each(|_| tried_again.learn(1, 1.0, 1.0));
        assert!(tried_again.doubt() < 1.5, "{tried_again:?}");
        (0..100).for_each(|_| account.learn(1, 3.0, 1.5));
        assert_eq!(account.doubt(), 1.0);
    }
}
