//! What the engine counts of its steps. Handles are taken before, so that counting is a few atomic writes.

use metrics::{Counter, Gauge, Histogram};

use crate::engine::commit::Brought;
use crate::engine::stopwatch::{Stage, Stopwatch};
use crate::metrics::{Registry, names};

/// Handles on what is counted of steps.
#[derive(Debug)]
pub(crate) struct Meter {
    registry: Registry,
    num_rows: Histogram,
    stages: [Histogram; Stage::COUNT],
    num_preemptions: Counter,
    drafters: Vec<DrafterMeter>,
    num_predicted: Counter,
    num_accepted_predicted: Counter,
    num_running: Gauge,
    num_waiting: Gauge,
    cache_usage: Gauge,
}

/// What came of one drafter's drafts.
#[derive(Debug)]
struct DrafterMeter {
    name: &'static str,
    num_drafts: Counter,
    num_draft_tokens: Counter,
    num_accepted: Counter,
    /// As long as the longest path so far.
    accepted_per_pos: Vec<Counter>,
}

/// How much the engine holds between two steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) num_running: usize,
    pub(crate) num_waiting: usize,
    /// Blocks that requests hold, as a part of all.
    pub(crate) cache_usage: f64,
}

impl Meter {
    /// For an engine with these drafters, and a cache of so many blocks of so many slots.
    pub(crate) fn new(
        registry: Registry,
        drafters: &[&'static str],
        block_size: usize,
        num_blocks: usize,
    ) -> Self {
        let cache = [
            ("block_size", block_size.to_string()),
            ("num_gpu_blocks", num_blocks.to_string()),
        ];
        registry.gauge(names::CACHE_CONFIG_INFO, &cache).set(1.0);
        let stage = |name: &str| {
            let stage = [("stage", name.to_owned())];
            registry.histogram(names::STEP_TIME, &stage)
        };
        Self {
            num_rows: registry.histogram(names::ITERATION_TOKENS, &[]),
            stages: Stage::NAMES.map(stage),
            num_preemptions: registry.counter(names::NUM_PREEMPTIONS, &[]),
            drafters: (drafters.iter())
                .map(|name| DrafterMeter::new(&registry, name))
                .collect(),
            num_predicted: registry.counter(names::PREDICTION_TOKENS, &[]),
            num_accepted_predicted: registry.counter(names::ACCEPTED_PREDICTION_TOKENS, &[]),
            num_running: registry.gauge(names::NUM_REQUESTS_RUNNING, &[]),
            num_waiting: registry.gauge(names::NUM_REQUESTS_WAITING, &[]),
            cache_usage: registry.gauge(names::KV_CACHE_USAGE, &[]),
            registry,
        }
    }

    /// Counts sequences that lost their blocks to others.
    pub(crate) fn preempted(&self, count: usize) {
        self.num_preemptions.increment(count as u64);
    }

    /// Counts a drafter's verified tree.
    pub(crate) fn verified(&mut self, drafter: Option<&'static str>, brought: &Brought) {
        self.num_predicted.increment(brought.num_predicted as u64);
        self.num_accepted_predicted
            .increment(brought.num_accepted_predicted as u64);
        let mut meters = self.drafters.iter_mut();
        let meter = meters.find(|meter| Some(meter.name) == drafter);
        if let Some(meter) = meter
            && brought.num_draft_tokens > 0
        {
            meter.verified(&self.registry, brought);
        }
    }

    /// Counts a step that is done.
    pub(crate) fn step(&self, num_rows: usize, watch: &Stopwatch) {
        self.num_rows.record(num_rows as f64);
        for (histogram, &time) in self.stages.iter().zip(watch.stages()) {
            histogram.record(time);
        }
    }

    /// Shows how much the engine holds.
    pub(crate) fn show(&self, levels: Levels) {
        self.num_running.set(levels.num_running as f64);
        self.num_waiting.set(levels.num_waiting as f64);
        self.cache_usage.set(levels.cache_usage);
    }
}

impl DrafterMeter {
    fn new(registry: &Registry, name: &'static str) -> Self {
        let labels = [("drafter", name.to_owned())];
        Self {
            name,
            num_drafts: registry.counter(names::NUM_DRAFTS, &labels),
            num_draft_tokens: registry.counter(names::NUM_DRAFT_TOKENS, &labels),
            num_accepted: registry.counter(names::NUM_ACCEPTED_TOKENS, &labels),
            accepted_per_pos: Vec::new(),
        }
    }

    fn verified(&mut self, registry: &Registry, brought: &Brought) {
        let num_accepted = brought.num_accepted;
        self.num_drafts.increment(1);
        self.num_draft_tokens
            .increment(brought.num_draft_tokens as u64);
        self.num_accepted.increment(num_accepted as u64);
        for position in self.accepted_per_pos.len()..num_accepted {
            let labels = [
                ("drafter", self.name.to_owned()),
                ("position", position.to_string()),
            ];
            let counter = registry.counter(names::NUM_ACCEPTED_TOKENS_PER_POS, &labels);
            self.accepted_per_pos.push(counter);
        }
        for counter in &self.accepted_per_pos[..num_accepted] {
            counter.increment(1);
        }
    }
}
