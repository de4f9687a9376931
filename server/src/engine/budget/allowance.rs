//! What may be lost by asking drafters in vain.

/// Tokens that may still be lost, over all sequences.
///
/// Where many answers are short, a drafter that brings nothing would be asked about nearly every one: to ask about some
/// tells as much.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    tokens: f32,
}

/// The part of all tokens that asking in vain may cost.
const PART: f32 = 0.005;

/// Steps of which the allowance is kept: whoever loses nothing for long does not lose all at once.
const MOST_STEPS: f32 = 32.0;

impl Allowance {
    /// Takes in a step's tokens, one for each sequence.
    pub(crate) fn accrue(&mut self, num_seqs: usize) {
        let more = PART * num_seqs as f32;
        self.tokens = (self.tokens + more).min(MOST_STEPS * more);
    }

    /// How many of the questions may be asked that would cost so much, in this order. One always may, or nobody would
    /// ever learn that things have changed.
    pub(crate) fn covers(&self, costs: impl Iterator<Item = f32>) -> usize {
        let mut left = self.tokens;
        let covered = costs.take_while(|cost| {
            left -= cost;
            left >= 0.0
        });
        covered.count().max(1)
    }

    /// Takes in what a question has cost beyond what it brought.
    pub(crate) fn spend(&mut self, tokens: f32) {
        self.tokens = (self.tokens - tokens.max(0.0)).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_in_vain_cost_no_more_than_their_part() {
        for (num_seqs, cost) in [(64, 0.4), (64, 0.01), (8, 0.3), (1, 0.01)] {
            let mut allowance = Allowance::default();
            let mut spent = 0.0;
            for step in 1..=32_000 {
                allowance.accrue(num_seqs);
                if step % 32 == 0 {
                    let num_asked = allowance.covers(std::iter::repeat_n(cost, num_seqs));
                    (0..num_asked).for_each(|_| allowance.spend(cost));
                    spent += num_asked as f32 * cost;
                }
            }
            let part = spent / (32_000.0 * num_seqs as f32);
            assert!(part <= 1.01 * PART, "{num_seqs} {cost}: {part}");
            let all = cost / 32.0;
            assert!(part >= 0.5 * PART.min(all), "{num_seqs} {cost}: {part}");
        }
    }

    #[test]
    fn one_may_be_asked_whatever_it_costs() {
        let mut allowance = Allowance::default();
        allowance.spend(9.0);
        allowance.accrue(1);
        assert_eq!(allowance.covers([5.0, 5.0].into_iter()), 1);
    }
}
