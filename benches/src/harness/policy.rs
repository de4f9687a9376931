//! The budget's policy on a simulated clock, as its text flips between copies and noise.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::simulation::{Machine, Policy, Simulation, Skill, World, Yield, in_hindsight, machines};

/// What the text is like, one part after the other.
const PARTS: [Skill; 5] = [
    Skill::COPIES,
    Skill::RANDOM,
    Skill::COPIES,
    Skill::RANDOM,
    Skill::COPIES,
];

/// How long the policy has, and for how many sequences.
#[derive(Args, Clone, Debug)]
pub struct PolicyOptions {
    /// Sequences side by side
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub num_seqs: Vec<u16>,

    /// Steps that are summed up as one window
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub window: u16,

    /// Windows from flip to flip
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub windows_per_flip: u16,

    /// The drafter's luck
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// The policy on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyResult {
    /// Whose prices.
    pub machine: String,
    /// Sequences side by side.
    pub num_seqs: usize,
    /// Steps of each window.
    pub steps_per_window: usize,
    /// Steps at which the text changed.
    pub flips: Vec<usize>,
    /// One after the other.
    pub windows: Vec<Window>,
}

/// Steps in a row; goodput of plain decoding is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The policy's goodput.
    pub policy: f64,
    /// Goodput of the fixed budget that is best in these very steps.
    pub best: f64,
}

/// Runs the policy on every machine.
pub fn run(options: &PolicyOptions) -> Vec<PolicyResult> {
    let machines = machines();
    let on = |(name, machine): &(&str, Machine)| {
        let results = options.num_seqs.iter();
        results
            .map(|&num_seqs| follow(name, machine, num_seqs.into(), options))
            .collect::<Vec<_>>()
    };
    machines.iter().flat_map(on).collect()
}

fn follow(name: &str, machine: &Machine, num_seqs: usize, options: &PolicyOptions) -> PolicyResult {
    let steps_per_window = usize::from(options.window);
    let steps_per_part = steps_per_window * usize::from(options.windows_per_flip);
    let world = World::new(machine.clone(), num_seqs, PARTS[0]);
    let mut simulation =
        Simulation::new(world, Policy::budget(machine.costs.clone()), options.seed);
    let mut windows = Vec::new();
    for skill in PARTS {
        simulation.world.skills = vec![skill; num_seqs];
        let (best, plain) = in_hindsight(&simulation.world);
        let steps = simulation.run(steps_per_part);
        windows.extend(steps.chunks(steps_per_window).map(|steps| Window {
            policy: steps.iter().copied().sum::<Yield>().goodput() / plain,
            best: best / plain,
        }));
    }
    PolicyResult {
        machine: name.to_owned(),
        num_seqs,
        steps_per_window,
        flips: (1..PARTS.len()).map(|part| part * steps_per_part).collect(),
        windows,
    }
}

impl Window {
    /// The policy's goodput relative to the best fixed budget's.
    pub fn of_best(&self) -> f64 {
        self.policy / self.best
    }
}

impl PolicyResult {
    /// The mean of a figure over the windows.
    pub fn mean(&self, figure: impl Fn(&Window) -> f64) -> f64 {
        self.windows.iter().map(figure).sum::<f64>() / self.windows.len().max(1) as f64
    }

    /// A figure in the window where it is least.
    pub fn worst(&self, figure: impl Fn(&Window) -> f64) -> f64 {
        (self.windows.iter().map(figure))
            .min_by(f64::total_cmp)
            .unwrap_or_default()
    }

    /// The result in a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} at a time, {} flips: {:.2} times plain decoding ({:.2} in the worst {} steps), {:.1} % of the best \
             fixed budget in hindsight\n",
            self.machine,
            self.num_seqs,
            self.flips.len(),
            self.mean(|window| window.policy),
            self.worst(|window| window.policy),
            self.steps_per_window,
            self.mean(Window::of_best) * 100.0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_follows_each_flip() {
        let options = PolicyOptions {
            num_seqs: vec![1, 8],
            window: 25,
            windows_per_flip: 6,
            seed: 0,
        };
        let results = run(&options);
        assert_eq!(results.len(), 6);
        for result in results {
            assert_eq!(result.flips, [150, 300, 450, 600]);
            assert_eq!(result.windows.len(), 30);
            for (part, windows) in result.windows.chunks(6).enumerate() {
                let last = windows[5];
                assert!(last.of_best() > 0.9, "{}: {part}: {last:?}", result.line());
                assert!(last.policy > 0.99, "{}: {part}: {last:?}", result.line());
            }
        }
    }
}
