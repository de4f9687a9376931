//! Whether a sequence is worth drafting for at all: drafting takes time even where nothing of it is verified.

/// What drafting has brought a sequence, in tokens saved for each time its drafter was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    gain: f32,
    /// Steps from one time of asking to the next, a power of two.
    period: u64,
    /// The step of the next time.
    due: u64,
    /// True if a draft came true since: to ask is no trial.
    is_awake: bool,
    /// Nodes that were verified of late.
    appetite: f32,
}

/// Steps until it is asked again whose draft came true but was not worth verifying.
const SHORT_PERIOD: u64 = 2;

/// Longest period: a text that begins to repeat itself is noticed within so many steps.
const LONGEST_PERIOD: u64 = 32;

/// The most that asking in vain may cost, in tokens a step; only the longest period lets it cost more.
const VAIN_COST: f32 = 0.005;

impl Default for Interest {
    fn default() -> Self {
        Self {
            gain: 1.0,
            period: 1,
            due: 0,
            is_awake: false,
            appetite: 16.0,
        }
    }
}

impl Interest {
    /// Nodes that the drafter is asked for in this step: some more than were worth verifying of late, none in a pause.
    pub(crate) fn ask(&self, now: u64) -> usize {
        match now < self.due {
            true => 0,
            false => (1.5 * self.appetite) as usize + 3,
        }
    }

    /// True if a pause ends with this step, and nothing says that more will come of it than the last time.
    pub(crate) fn is_trial(&self, now: u64) -> bool {
        self.period > 1 && !self.is_awake && now >= self.due
    }

    /// Makes the pause longer by as much again.
    pub(crate) fn postpone(&mut self, now: u64) {
        self.due = (now / self.period + 1) * self.period;
    }

    /// Cuts a pause short: so many tokens that were drafted last came true, and no other.
    pub(crate) fn wake(&mut self, now: u64, num_true: usize) {
        self.due = self.due.min(now + SHORT_PERIOD);
        self.is_awake = true;
        self.appetite = self.appetite.max(num_true as f32);
    }

    /// Takes in what an answer was worth, against what asking cost, both in tokens.
    pub(crate) fn judge(&mut self, now: u64, gain: f32, cost: f32, num_verified: usize) {
        self.gain += (gain - self.gain) / 8.0;
        self.appetite = (self.appetite * 0.9).max(num_verified as f32);
        self.period = match self.gain > cost {
            true => 1,
            false => (2 * self.period).min(longest(cost)),
        };
        self.is_awake = false;
        // Periods are in step with each other, so that sequences are asked together: even one that is asked pushes
        // weights out of the processor's cache.
        self.postpone(now);
    }
}

/// The longest period where asking costs so much.
fn longest(cost: f32) -> u64 {
    let least = (cost / VAIN_COST).clamp(1.0, LONGEST_PERIOD as f32);
    (least as u64).next_power_of_two().clamp(16, LONGEST_PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for so many steps and counts the answers.
    fn asked(interest: &mut Interest, steps: std::ops::Range<u64>, gain: f32) -> usize {
        let answered = steps.filter(|&now| {
            let asked = interest.ask(now) > 0;
            if asked {
                interest.judge(now, gain, 0.02, 3);
            }
            asked
        });
        answered.count()
    }

    #[test]
    fn a_drafter_that_brings_nothing_is_asked_less_and_less_and_soon_again_when_it_does() {
        let mut interest = Interest::default();
        assert_eq!(asked(&mut interest, 0..100, 0.5), 100);
        let useless = asked(&mut interest, 100..500, 0.0);
        assert!((20..=80).contains(&useless), "{useless}");
        assert_eq!(asked(&mut interest, 500..660, 0.0), 10);
        assert!(asked(&mut interest, 660..710, 0.5) >= 34);
    }

    #[test]
    fn the_dearer_a_draft_the_longer_the_pause_and_all_end_together() {
        for (cost, want) in [(0.02, 16), (0.1, 32), (3.0, 32)] {
            let mut interests = [Interest::default(); 2];
            for now in 0..1000 {
                for (interest, since) in interests.iter_mut().zip([0, 77]) {
                    if now >= since && interest.ask(now) > 0 {
                        interest.judge(now, 0.0, cost, 0);
                    }
                }
            }
            let due = 1000_u64.next_multiple_of(want);
            let found = interests.map(|interest| (interest.period, interest.due));
            assert_eq!(found, [(want, due); 2], "{cost}");
        }
    }

    #[test]
    fn more_is_asked_for_than_was_verified_of_late() {
        let mut interest = Interest::default();
        (0..50).for_each(|now| interest.judge(now, 1.0, 0.0, 2));
        assert_eq!(interest.ask(50), 6);
        interest.judge(50, 1.0, 0.0, 8);
        assert_eq!(interest.ask(51), 15);
    }
}
