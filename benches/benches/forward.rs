//! What a target forward costs by its number of rows: the price list of verification.
//!
//! `cargo bench -p foretoken-benches --bench forward [-- THREADS]`

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::Device;
use foretoken_model::{
    Batch, BlockPool, BlockTable, Dtype, KvCache, LoadedModel, ModelSource, SequenceRows, Token,
};

const CONTEXT: usize = 256;
const ROWS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 256];
const BLOCK_SIZE: usize = 16;

fn main() -> Result<()> {
    let threads = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()?;
    println!(
        "carried model, context {CONTEXT}, {} threads, ms per forward (best of many)\n",
        pool.current_num_threads()
    );
    println!(
        "| dtype |{}",
        ROWS.map(|rows| format!(" {rows} |")).concat()
    );
    println!("| --- |{}", ROWS.map(|_| " --: |").concat());
    for (name, dtype) in [("bfloat16", Dtype::Bfloat16), ("float32", Dtype::Float32)] {
        let times = pool.install(|| price_list(dtype))?;
        println!(
            "| {name} |{}",
            times
                .map(|time| format!(" {:.2} |", time.as_secs_f64() * 1e3))
                .concat()
        );
    }
    Ok(())
}

fn price_list(dtype: Dtype) -> Result<[Duration; ROWS.len()]> {
    let model = LoadedModel::load(&ModelSource::demo(), dtype, None, &Device::Cpu)?;
    let mut pool = BlockPool::new(64, BLOCK_SIZE);
    let mut cache = KvCache::new(
        model.llama.config(),
        64 * BLOCK_SIZE,
        model.llama.dtype(),
        &Device::Cpu,
    )?;
    let mut activations = model.llama.activations();
    let mut table = BlockTable::default();
    anyhow::ensure!(
        pool.grow(&mut table, 64 * BLOCK_SIZE),
        "the cache is large enough"
    );
    let tokens: Vec<Token> = (0..CONTEXT + 256)
        .map(|index| (index * 37 % 8000) as Token)
        .collect();
    let mut forward = |start: usize, end: usize| {
        // A chain behind the root, as a draft would be, up to the 64 nodes of a tree; prompt rows beyond.
        let num_drafts = if end - start <= 64 {
            end - start - 1
        } else {
            0
        };
        let masks: Vec<u64> = (1..=num_drafts)
            .map(|node| u64::MAX >> (63 - node))
            .collect();
        let (committed, drafts) = tokens[start..end].split_at(end - start - num_drafts);
        let mut batch = Batch::new(BLOCK_SIZE);
        batch.push(SequenceRows {
            table: &table,
            context_len: start + committed.len() - 1,
            start,
            tokens: committed,
            draft_tokens: drafts,
            ancestors: &masks,
        });
        let started = Instant::now();
        model
            .llama
            .forward(&batch, &mut cache, &mut activations)
            .map(|_| started.elapsed())
    };
    forward(0, CONTEXT).context("the prompt")?;
    let mut best = [Duration::MAX; ROWS.len()];
    for _ in 0..40 {
        for (best, rows) in best.iter_mut().zip(ROWS) {
            *best = forward(CONTEXT, CONTEXT + rows)?.min(*best);
        }
    }
    Ok(best)
}
