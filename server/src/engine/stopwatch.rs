//! How long a step's stages take.

use std::time::{Duration, Instant};

use crate::engine::budget::Times;

/// A part of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Plan,
    Draft,
    Budget,
    Forward,
    Sample,
    Commit,
}

impl Stage {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::NAMES.len();

    /// Their names, in order.
    pub(crate) const NAMES: [&str; 6] = ["plan", "draft", "budget", "forward", "sample", "commit"];
}

/// Times stages one after the other.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    since: Instant,
    times: [Duration; Stage::COUNT],
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            since: Instant::now(),
            times: [Duration::ZERO; Stage::COUNT],
        }
    }

    /// A stage ends, or a part of it that comes after others; the next one begins.
    pub(crate) fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.times[stage as usize] += now - self.since;
        self.since = now;
    }

    /// The two stages of a verify end, one of which took so long.
    pub(crate) fn lap_verify(&mut self, forward: Duration) {
        self.lap(Stage::Sample);
        self.times[Stage::Sample as usize] -= forward;
        self.times[Stage::Forward as usize] = forward;
    }

    /// By stage, in order.
    pub(crate) fn stages(&self) -> &[Duration; Stage::COUNT] {
        &self.times
    }

    /// What the budget learns from, once the verify is over.
    pub(crate) fn times(&self) -> Times {
        let time = |stage: Stage| self.times[stage as usize];
        Times {
            draft: time(Stage::Draft),
            forward: time(Stage::Forward),
            rest: time(Stage::Budget) + time(Stage::Sample),
        }
    }
}
