//! When requests arrive.

#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Gamma};

/// How requests follow one another.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// As soon as there is a slot: the next request waits for an answer, so the server sets the pace (closed loop).
    AtOnce,
    /// Whatever the server does (open loop).
    Rate {
        /// Requests per second at the first request.
        from: f64,
        /// Requests per second at the last one.
        to: f64,
        /// Shape of the gamma distribution that gaps are drawn from: 1 is a Poisson process, less comes in bursts,
        /// more is more regular, infinity is a fixed rate.
        burstiness: f64,
    },
    /// As they did once.
    Given(Vec<Duration>),
}

impl Arrivals {
    /// The times of `count` arrivals, from the run's start; none if slots decide.
    pub fn times(&self, count: usize, seed: u64) -> Result<Option<Vec<Duration>>> {
        match self {
            Self::AtOnce => Ok(None),
            Self::Given(times) => Ok(Some(times.clone())),
            &Self::Rate {
                from,
                to,
                burstiness,
            } => {
                let mut rng = StdRng::seed_from_u64(seed);
                let gap = Gap::new(burstiness)?;
                let mut now = 0.0;
                let times = (0..count).map(|index| {
                    let progress = index as f64 / (count - 1).max(1) as f64;
                    now += gap.draw(&mut rng) / (from + (to - from) * progress);
                    Duration::from_secs_f64(now)
                });
                Ok(Some(times.collect()))
            }
        }
    }
}

/// The time between two arrivals, as a multiple of its mean.
enum Gap {
    Fixed,
    Drawn(Gamma<f64>),
}

impl Gap {
    fn new(burstiness: f64) -> Result<Self> {
        if burstiness == f64::INFINITY {
            return Ok(Self::Fixed);
        }
        let gamma = Gamma::new(burstiness, burstiness.recip());
        let gamma = gamma.with_context(|| format!("a burstiness of {burstiness}"))?;
        Ok(Self::Drawn(gamma))
    }

    fn draw(&self, rng: &mut StdRng) -> f64 {
        match self {
            Self::Fixed => 1.0,
            Self::Drawn(gamma) => gamma.sample(rng),
        }
    }
}
