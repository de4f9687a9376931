//! What a draft of the drafter `chimera` costs, by sequences, levels and draft vocabulary.
//!
//! `cargo bench -p foretoken-benches --bench chimera [-- --context N --threads N]`
//!
//! The network's weights are arbitrary, which costs what trained ones cost: trees have a fixed shape, after the root four
//! nodes a level, as those of 16 nodes have at most; fewer where the weights leave fewer likely tokens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{Device, Tensor, safetensors};
use clap::Parser;
use foretoken_benches::target::{Format, ModelOptions};
use foretoken_draft::chimera::{ChimeraConfig, Form};
use foretoken_draft::{
    Chimera, Context, Costs, DraftTree, Drafter, Hints, Shape, Verified, VerifiedRows,
};
use foretoken_model::{
    Activations, Batch, BlockPool, BlockTable, KvCache, Llama, ModelSource, SamplingParams, SeqId,
    SequenceRows, Token,
};

/// Measures drafts of a network.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Positions computed before
    #[arg(long, default_value_t = 256)]
    context: usize,
    /// Drafts of each kind
    #[arg(long, default_value_t = 100)]
    drafts: usize,
    /// Temperature of the requests
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

const BLOCK_SIZE: usize = 16;
const NUM_SEQS: [usize; 3] = [1, 4, 16];
const NUM_LEVELS: usize = 5;
const SHAPE: Shape = Shape::Fixed(&[&[4], &[2; 4], &[2; 4], &[2; 4], &[2; 4]]);

fn main() -> Result<()> {
    let options = Options::parse();
    let pool = options.model.pool()?;
    println!(
        "µs of a step's draft, best of {}: {}, context {}, {} threads, temperature {}\n",
        options.drafts,
        options.model.source().name(),
        options.context,
        pool.current_num_threads(),
        options.temperature
    );
    println!("| heads | sequences | 1 level | 2 | 3 | 4 | 5 | plain step | observing it |");
    println!("| --- | --: | --: | --: | --: | --: | --: | --: | --: |");
    let kinds = [
        (Form::Lean, None),
        (Form::Lean, Some(4096)),
        (Form::Lean, Some(2048)),
        (Form::Lean, Some(1024)),
        (Form::Faithful, None),
    ];
    for (form, draft_vocab_size) in kinds {
        for num_seqs in NUM_SEQS {
            let llama = options.model.load(Format::Auto)?.llama;
            let chimera = network(&llama, form, draft_vocab_size)?;
            let mut step = Step::new(llama, chimera, num_seqs, options.context)?;
            let times = pool.install(|| step.times(&options))?;
            let heads = match draft_vocab_size {
                Some(size) => format!("{form:?}, {size} tokens"),
                None => format!("{form:?}, all tokens"),
            };
            let cells = times.map(|time| format!(" {:.0} |", time.as_secs_f64() * 1e6));
            println!("| {heads} | {num_seqs} |{}", cells.concat());
        }
    }
    Ok(())
}

/// A network of arbitrary weights.
fn network(target: &Llama, form: Form, draft_vocab_size: Option<usize>) -> Result<Chimera> {
    let mut config = ChimeraConfig::of_target(target.config(), target.fingerprint(), form, 4);
    config.draft_vocab_size = draft_vocab_size;
    let mut weights = HashMap::new();
    for (name, shape) in config.shapes() {
        let scale = (shape[shape.len() - 1] as f64).sqrt().recip();
        let weight = Tensor::randn(0.0, 1.0, shape, &Device::Cpu)?;
        weights.insert(name, (weight * scale)?.to_dtype(target.dtype())?);
    }
    if let Some(len) = draft_vocab_size {
        let tokens = Tensor::arange(0, len as Token, &Device::Cpu)?;
        weights.insert("draft_vocab".to_owned(), tokens);
    }
    let folder = tempfile::tempdir()?;
    let json = serde_json::to_string(&config)?;
    std::fs::write(folder.path().join("config.json"), json)?;
    safetensors::save(&weights, folder.path().join("model.safetensors"))?;
    let source = ModelSource::Directory(folder.path().to_owned());
    Ok(Chimera::load(&source, target, SHAPE)?)
}

/// Sequences that decode, each with one token to be computed.
struct Step {
    llama: Llama,
    chimera: Chimera,
    cache: KvCache,
    activations: Activations,
    tables: Vec<BlockTable>,
    sequences: Vec<Vec<Token>>,
}

impl Step {
    fn new(llama: Llama, mut chimera: Chimera, num_seqs: usize, context: usize) -> Result<Self> {
        let blocks_of_one = (context + DraftTree::MAX_NODES).div_ceil(BLOCK_SIZE) + 1;
        let num_blocks = num_seqs * blocks_of_one;
        let mut pool = BlockPool::new(num_blocks, BLOCK_SIZE);
        let mut tables: Vec<_> = (0..num_seqs).map(|_| BlockTable::default()).collect();
        for table in &mut tables {
            anyhow::ensure!(
                pool.grow(table, context + 1 + DraftTree::MAX_NODES),
                "no room"
            );
        }
        let mut cache = KvCache::new(llama.kv_shape(), num_blocks * BLOCK_SIZE, &Device::Cpu)?;
        if let Some(shape) = chimera.layers() {
            chimera.attach(cache.extend(shape)?);
        }
        let vocab_size = llama.config().vocab_size;
        let token = |index: usize| (index * index * 31 % vocab_size) as Token;
        let sequences = (0..num_seqs).map(|seq| (seq..=seq + context).map(token).collect());
        Ok(Self {
            activations: llama.activations(),
            sequences: sequences.collect(),
            llama,
            chimera,
            cache,
            tables,
        })
    }

    /// Drafts of 1 to 5 levels, the target's step without drafts, and what the drafter makes of such a step.
    fn times(&mut self, options: &Options) -> Result<[Duration; NUM_LEVELS + 2]> {
        let sampling = SamplingParams {
            temperature: options.temperature,
            ..SamplingParams::greedy()
        };
        let mut best = [Duration::MAX; NUM_LEVELS + 2];
        self.forward(0, options.context)?;
        for _ in 0..options.drafts {
            let (plain, observing) = self.forward(options.context - 1, options.context)?;
            best[NUM_LEVELS] = best[NUM_LEVELS].min(plain);
            best[NUM_LEVELS + 1] = best[NUM_LEVELS + 1].min(observing);
            for depth in 1..=NUM_LEVELS {
                let context = |index: usize| Context {
                    seq: SeqId(index as u64),
                    tokens: &self.sequences[index],
                    table: &self.tables[index],
                    sampling: &sampling,
                    max_draft_tokens: DraftTree::MAX_NODES - 1,
                    max_draft_depth: depth,
                    costs: Costs::default(),
                    hints: Hints::default(),
                };
                let contexts: Vec<_> = (0..self.sequences.len()).map(context).collect();
                let started = Instant::now();
                self.chimera.propose(&contexts)?;
                best[depth - 1] = best[depth - 1].min(started.elapsed());
            }
        }
        Ok(best)
    }

    /// Computes positions of all sequences and shows them to the drafter; how long each took.
    fn forward(&mut self, start: usize, end: usize) -> Result<(Duration, Duration)> {
        let mut batch = Batch::new(BLOCK_SIZE);
        let mut rows = Vec::new();
        for (index, (table, tokens)) in self.tables.iter().zip(&self.sequences).enumerate() {
            let first = batch.num_rows();
            batch.push(SequenceRows {
                table,
                context_len: end - 1,
                start,
                tokens: &tokens[start..end],
                first_node: 1,
                draft_tokens: &[],
                ancestors: &[],
            });
            rows.push(VerifiedRows {
                seq: SeqId(index as u64),
                rows: first..batch.num_rows(),
                last_kept: batch.num_rows() - 1,
            });
        }
        let started = Instant::now();
        let (cache, activations) = (&mut self.cache, &mut self.activations);
        let hidden = self.llama.forward(&batch, cache, activations)?.hidden;
        let forward = started.elapsed();
        let started = Instant::now();
        self.chimera.observe(&Verified {
            batch: &batch,
            rows: &rows,
            hidden: &hidden,
        })?;
        Ok((forward, started.elapsed()))
    }
}
