//! The engine: one thread that owns model, cache, drafters and scheduler by value.

pub mod budget;
mod commit;
mod drafters;
mod meter;
mod scheduler;
mod sequence;
mod speech;
mod stopwatch;
mod verify;

use std::time::Duration;

use candle_core::Result;
use foretoken_draft::{DraftTree, Verified};
use foretoken_model::{BlockPool, KvCache, Llama, SeqId, Token};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::field::Empty;
use tracing::{Span, trace_span};

use crate::metrics::Registry;
use crate::request::Request;
use crate::request_span::number;
use budget::{Budget, Prices};
pub use drafters::Drafters;
use meter::{Levels, Meter};
use scheduler::Scheduler;
pub use scheduler::SchedulerOptions;
use sequence::Sequence;
use stopwatch::{Stage, Stopwatch};
use verify::{Outcome, Target};

/// Slots of a block of the cache.
pub const BLOCK_SIZE: usize = 16;

/// Most time that measuring prices may take, roughly.
const PROFILE_LIMIT: Duration = Duration::from_secs(1);

/// Decides who runs, guesses, keeps the guesses that pay, checks them, keeps what holds.
pub struct Engine {
    scheduler: Scheduler,
    blocks: BlockPool,
    drafters: Drafters,
    budget: Budget,
    target: Target,
    eos_token_ids: Vec<Token>,
    next_seq: u64,
    enable_prefix_caching: bool,
    num_rows: u64,
    meter: Meter,
}

impl Engine {
    /// An engine over a cache of `num_blocks` blocks of [`BLOCK_SIZE`] slots.
    pub fn new(
        llama: Llama,
        eos_token_ids: Vec<Token>,
        mut drafters: Drafters,
        options: SchedulerOptions,
        num_blocks: usize,
    ) -> Result<Self> {
        let num_slots = num_blocks * BLOCK_SIZE;
        let is_on_cpu = llama.device().is_cpu();
        let mut cache = KvCache::new(llama.kv_shape(), num_slots, llama.device())?;
        drafters.attach(&mut cache)?;
        let mut target = Target::new(llama, cache, BLOCK_SIZE);
        // A GPU's memory is taken now, since running out of it later would end the engine; the CPU's as it is used.
        if !is_on_cpu {
            target.reserve(options.max_num_batched_tokens)?;
            drafters.reserve(options.max_num_batched_tokens)?;
        }
        let names = drafters.names();
        Ok(Self {
            meter: Meter::new(Registry::default(), &names, BLOCK_SIZE, num_blocks),
            enable_prefix_caching: options.enable_prefix_caching,
            scheduler: Scheduler::new(options),
            blocks: BlockPool::new(num_blocks, BLOCK_SIZE),
            drafters,
            budget: Budget::new(Prices::free()),
            target,
            eos_token_ids,
            next_seq: 0,
            num_rows: 0,
        })
    }

    /// Counts in `registry` from now on.
    pub fn report_to(&mut self, registry: &Registry) {
        let (names, num_blocks) = (self.drafters.names(), self.num_blocks());
        self.meter = Meter::new(registry.clone(), &names, BLOCK_SIZE, num_blocks);
    }

    /// Measures what rows cost here, so that only drafts that pay are verified. Takes up to about a second, before any
    /// request is added; without it, rows count as free.
    pub fn measure_prices(&mut self) -> Result<()> {
        let most_rows = self.scheduler.most_rows();
        let prices = self
            .target
            .measure_prices(&mut self.blocks, most_rows, PROFILE_LIMIT)?;
        self.budget = Budget::new(prices);
        Ok(())
    }

    /// Draws after all nodes of a step at once, as it does on a GPU anyhow, where it would draw node by node as the path
    /// comes to them. The tokens are the same.
    pub fn draw_ahead(&mut self) {
        self.target.draw_ahead();
    }

    /// Starts from a guess at what rows cost, which the first steps correct.
    pub fn guess_prices(&mut self) {
        self.budget = Budget::new(Prices::prior());
    }

    /// Works until the inbox is closed and everything that came through it has ended. Then, or if it fails, drafters
    /// save what they keep.
    pub fn run(mut self, inbox: UnboundedReceiver<Request>) -> Result<()> {
        let worked = self.work(inbox);
        self.drafters.close();
        worked
    }

    fn work(&mut self, mut inbox: UnboundedReceiver<Request>) -> Result<()> {
        loop {
            if self.is_idle() {
                self.check_blocks();
                match inbox.blocking_recv() {
                    Some(request) => self.add(request),
                    None => return Ok(()),
                }
            }
            while let Ok(request) = inbox.try_recv() {
                self.add(request);
            }
            self.step()?;
            self.meter.show(self.levels());
        }
    }

    /// Takes a request in, behind those that wait already.
    pub fn add(&mut self, request: Request) {
        let id = SeqId(self.next_seq);
        self.next_seq += 1;
        self.scheduler.add(Sequence::new(id, request));
    }

    /// One turn: decide who runs, guess, keep the guesses that pay, check them, keep what holds.
    pub fn step(&mut self) -> Result<()> {
        let mut watch = Stopwatch::start();
        let mut plan = self.scheduler.plan(&mut self.blocks);
        self.meter.preempted(plan.num_preempted);
        for &seq in &plan.forgotten {
            self.forget(seq);
        }
        if plan.scheduled.is_empty() {
            return Ok(());
        }
        watch.lap(Stage::Plan);
        let span = step_span(plan.scheduled.len()).entered();
        let step = plan.step();
        let asked = self.budget.ask(&step);
        let mut trees = self.drafters.propose(&plan.contexts(&asked));
        watch.lap(Stage::Draft);
        self.budget.select(&step, &mut trees);
        watch.lap(Stage::Budget);
        let outcome = self.target.verify(&mut plan, &trees)?;
        watch.lap_verify(outcome.forward);
        record(&span, &trees, &outcome);
        let num_rows = outcome.num_rows();
        self.num_rows += num_rows as u64;
        self.drafters.observe(&Verified {
            batch: &outcome.batch,
            rows: &outcome.rows,
            hidden: &outcome.hidden,
        });
        watch.lap(Stage::Draft);
        self.budget
            .learn(&step, &trees, &outcome.accepted, watch.times());
        self.commit(plan, &trees, outcome)?;
        watch.lap(Stage::Commit);
        self.meter.step(num_rows, &watch);
        Ok(())
    }

    /// Drops what drafters and budget know of a sequence.
    fn forget(&mut self, seq: SeqId) {
        self.drafters.forget(seq);
        self.budget.forget(seq);
    }

    /// free + private + cached = all, and nobody holds any when nothing runs.
    fn check_blocks(&self) {
        let blocks = &self.blocks;
        let counts = [blocks.num_free(), blocks.num_private(), blocks.num_cached()];
        let all = blocks.num_blocks();
        let is_whole = counts.iter().sum::<usize>() == all && blocks.num_available() == all;
        debug_assert!(is_whole, "blocks leaked: {counts:?} of {all}");
        if !is_whole {
            let [free, private, cached] = counts;
            tracing::error!(free, private, cached, all, "blocks leaked");
        }
    }

    fn levels(&self) -> Levels {
        let num_held = self.num_blocks() - self.num_free_blocks();
        Levels {
            num_running: self.scheduler.num_running(),
            num_waiting: self.scheduler.num_waiting(),
            cache_usage: num_held as f64 / self.num_blocks() as f64,
        }
    }

    /// True if there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// Blocks of the cache that no request holds, whether or not they hold a prefix; all of them whenever the engine is
    /// idle.
    pub fn num_free_blocks(&self) -> usize {
        self.blocks.num_available()
    }

    /// The blocks of the cache, by what becomes of them.
    pub fn blocks(&self) -> &BlockPool {
        &self.blocks
    }

    /// Rows that the target has computed, drafts included.
    pub fn num_rows(&self) -> u64 {
        self.num_rows
    }

    /// Blocks of the cache.
    pub fn num_blocks(&self) -> usize {
        self.blocks.num_blocks()
    }
}

/// A step's span, which is there only for those who look at this level.
fn step_span(num_seqs: usize) -> Span {
    trace_span!(
        "step",
        sequences = number(num_seqs),
        rows = Empty,
        draft_tokens = Empty,
        accepted_tokens = Empty
    )
}

/// Writes what a verify brought into the step's span.
fn record(span: &Span, trees: &[DraftTree], outcome: &Outcome) {
    if span.is_disabled() {
        return;
    }
    let num_draft_tokens: usize = trees.iter().map(DraftTree::num_draft_tokens).sum();
    let paths = outcome.accepted.iter().map(|accepted| &accepted.path);
    let num_accepted: usize = paths.map(|path| path.len() - 1).sum();
    span.record("rows", number(outcome.num_rows()));
    span.record("draft_tokens", number(num_draft_tokens));
    span.record("accepted_tokens", number(num_accepted));
    tracing::trace!("verified");
}
