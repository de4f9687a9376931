//! What of a draft's worth arrives: the engine with a drafter that is always right.
//!
//! `cargo bench -p foretoken-benches --bench efficiency [-- --model DIR --threads N --dtype bfloat16]`
//!
//! A request is answered plainly, then again with its answer as a chain of draft tokens. Were a verify as cheap as a
//! plain step, the speed-up would be the acceptance length; *efficiency* is the share of it that is left.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use foretoken_benches::target::{Format, ModelOptions};
use foretoken_draft::{Context, DraftTree, Drafter};
use foretoken_model::{SamplingParams, Token};
use foretoken_server::engine::{BLOCK_SIZE, Drafters, Engine, SchedulerOptions};
use foretoken_server::request::{Request, Speculation, Stats, Stopping};
use tokio::sync::{Semaphore, mpsc};

const TEMPERATURES: [f32; 2] = [0.0, 1.0];

/// Measures what of a draft's worth arrives.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Number format
    #[arg(long, value_enum, default_value = "auto")]
    dtype: Format,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 64)]
    prompt: usize,
    /// Verifies of the answer; as many tokens are generated as they can keep
    #[arg(long, default_value_t = 20)]
    verifies: usize,
    /// Draft tokens of a step
    #[arg(long, default_value_t = 16)]
    draft_tokens: usize,
    /// Times that each is measured, in turns; the best counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn num_tokens(&self) -> usize {
        self.verifies * (self.draft_tokens + 1)
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let model = options.model.load(options.dtype)?;
    let (name, dtype) = (options.model.source().name(), options.dtype.name());
    let config = model.llama.config();
    let vocab_size = config.vocab_size;
    let prompt: Vec<Token> = (0..options.prompt)
        .map(|index| (index * 37 % vocab_size) as Token)
        .collect();
    let future = Arc::new(Mutex::new(Vec::new()));
    let drafters = Drafters::new(vec![Box::new(Prophet(future.clone()))], vocab_size);
    let scheduler = SchedulerOptions {
        max_num_seqs: 1,
        max_num_batched_tokens: 512,
        max_prefill_chunk: 512,
        // The same prompt is asked again and again, and shall cost the same every time.
        enable_prefix_caching: false,
    };
    let num_slots = options.prompt + options.num_tokens() + DraftTree::MAX_NODES;
    let num_blocks = num_slots.div_ceil(BLOCK_SIZE) + 1;
    let mut engine = Engine::new(model.llama, Vec::new(), drafters, scheduler, num_blocks)?;
    let pool = options.model.pool()?;
    println!(
        "{name}, {dtype}, {} threads, {} draft tokens, always right\n\n\
         | T | plain, tok/s | drafted, tok/s | speed-up | acceptance length | efficiency | ms/step | ms/verify |\n\
         | --: | --: | --: | --: | --: | --: | --: | --: |",
        pool.current_num_threads(),
        options.draft_tokens,
    );
    for temperature in TEMPERATURES {
        let measure = || measure(&mut engine, &options, &prompt, temperature, &future);
        println!("{}", pool.install(measure)?);
    }
    Ok(())
}

/// A line of the table.
fn measure(
    engine: &mut Engine,
    options: &Options,
    prompt: &[Token],
    temperature: f32,
    future: &Mutex<Vec<Token>>,
) -> Result<String> {
    let (mut plain, mut drafted) = (Stats::default(), Stats::default());
    for _ in 0..options.rounds.max(1) {
        let (answer, stats) = run(engine, options, prompt, temperature, 0)?;
        keep_faster(&mut plain, stats);
        *future.lock().unwrap_or_else(PoisonError::into_inner) = [prompt, &answer].concat();
        let (again, stats) = run(engine, options, prompt, temperature, options.draft_tokens)?;
        ensure!(answer == again, "drafting has changed the answer");
        keep_faster(&mut drafted, stats);
    }
    let (plain_speed, drafted_speed) = (speed(&plain), speed(&drafted));
    let speed_up = drafted_speed / plain_speed;
    let length = drafted.num_decode_tokens as f64 / (drafted.num_steps - 1).max(1) as f64;
    Ok(format!(
        "| {temperature} | {plain_speed:.1} | {drafted_speed:.1} | {speed_up:.2} | {length:.2} | {:.0} % | {:.3} | {:.3} |",
        speed_up / length * 100.0,
        1e3 / plain_speed,
        1e3 * length / drafted_speed,
    ))
}

/// One answer, by exactly so many draft tokens a step.
fn run(
    engine: &mut Engine,
    options: &Options,
    prompt: &[Token],
    temperature: f32,
    num_drafts: usize,
) -> Result<(Vec<Token>, Stats)> {
    let (events, mut receiver) = mpsc::channel(options.num_tokens() + 1);
    let sampling = SamplingParams {
        temperature,
        seed: 1,
        ..SamplingParams::greedy()
    };
    engine.add(Request {
        prompt: prompt.to_vec(),
        sampling,
        stopping: Stopping {
            max_tokens: options.num_tokens(),
            stop_token_ids: Vec::new(),
            ignore_eos: true,
        },
        speculation: Speculation {
            drafter: (num_drafts > 0).then_some(Prophet::NAME),
            max_draft_tokens: num_drafts,
            min_draft_tokens: num_drafts,
            max_draft_depth: num_drafts.max(1),
        },
        prediction: [].into(),
        logprobs: None,
        priority: 0,
        cache_salt: None,
        events,
        permit: Arc::new(Semaphore::new(1)).try_acquire_owned()?,
    });
    while !engine.is_idle() {
        engine.step()?;
    }
    let mut answer = Vec::new();
    let mut last = None;
    while let Ok(event) = receiver.try_recv() {
        answer.extend(event.tokens.iter().map(|emitted| emitted.token));
        last = Some(event.stats);
    }
    Ok((answer, last.context("the engine said nothing")?))
}

fn keep_faster(best: &mut Stats, stats: Stats) {
    if speed(&stats) > speed(best) {
        *best = stats;
    }
}

fn speed(stats: &Stats) -> f64 {
    stats.decode_speed().unwrap_or_default()
}

/// Drafts what it was told will come.
struct Prophet(Arc<Mutex<Vec<Token>>>);

impl Prophet {
    const NAME: &'static str = "prophet";
}

impl Drafter for Prophet {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> candle_core::Result<Vec<DraftTree>> {
        let future = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = |context: &Context<'_>| {
            let (root, known) = (context.tokens.last(), context.tokens.len());
            let mut tree = DraftTree::new(root.copied().unwrap_or_default());
            let coming = future.get(known..).unwrap_or_default();
            for &token in coming.iter().take(context.max_draft_tokens) {
                tree.push(tree.num_nodes() - 1, token, 1.0, Self::NAME);
            }
            tree
        };
        Ok(contexts.iter().map(tree).collect())
    }
}
