//! Whether a sequence is worth drafting for at all: drafting takes time even where nothing of it is verified.

/// What drafting has brought a sequence, in tokens saved for each time its drafter was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    gain: f32,
    /// Steps between two times of asking, and how many of them are left.
    pause: u32,
    left: u32,
    /// Nodes that were verified of late.
    appetite: f32,
}

/// Pause after a draft that came true but was not worth verifying.
const SHORT_PAUSE: u32 = 3;

/// Longest pause: a text that begins to repeat itself is noticed within so many steps.
const LONGEST_PAUSE: u32 = 15;

impl Default for Interest {
    fn default() -> Self {
        Self {
            gain: 1.0,
            pause: 0,
            left: 0,
            appetite: 16.0,
        }
    }
}

impl Interest {
    /// Nodes that the drafter is asked for in this step: some more than were worth verifying of late, none in a pause.
    pub(crate) fn ask(&mut self) -> usize {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                0
            }
            None => (1.5 * self.appetite) as usize + 3,
        }
    }

    /// Cuts a pause short: what was drafted last came true.
    pub(crate) fn wake(&mut self) {
        self.left = self.left.min(SHORT_PAUSE);
    }

    /// Takes in what an answer was worth, against what asking cost, both in tokens.
    pub(crate) fn judge(&mut self, gain: f32, cost: f32, num_verified: usize) {
        self.gain += (gain - self.gain) / 8.0;
        self.appetite = (self.appetite * 0.9).max(num_verified as f32);
        self.pause = match self.gain > cost {
            true => 0,
            false => (2 * self.pause + 1).min(LONGEST_PAUSE),
        };
        self.left = self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for so many steps and counts the answers.
    fn asked(interest: &mut Interest, steps: usize, gain: f32) -> usize {
        let answered = (0..steps).filter(|_| {
            let asked = interest.ask() > 0;
            if asked {
                interest.judge(gain, 0.02, 3);
            }
            asked
        });
        answered.count()
    }

    #[test]
    fn a_drafter_that_brings_nothing_is_asked_less_and_less_and_soon_again_when_it_does() {
        let mut interest = Interest::default();
        assert_eq!(asked(&mut interest, 100, 0.5), 100);
        let useless = asked(&mut interest, 400, 0.0);
        assert!((20..=80).contains(&useless), "{useless}");
        assert_eq!(asked(&mut interest, 160, 0.0), 10);
        assert!(asked(&mut interest, 50, 0.5) >= 34);
    }

    #[test]
    fn more_is_asked_for_than_was_verified_of_late() {
        let mut interest = Interest::default();
        (0..50).for_each(|_| interest.judge(1.0, 0.0, 2));
        assert_eq!(interest.ask(), 6);
        interest.judge(1.0, 0.0, 8);
        assert_eq!(interest.ask(), 15);
    }
}
