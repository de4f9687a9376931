//! Where a forward's time goes: its ops one after another on weights of a model's shape, each timed by itself.
//!
//! `cargo bench -p foretoken-benches --bench stages [-- --model DIR --threads N --dtype bfloat16 --rows 1,16,64]`
//!
//! It replays what `Llama::forward` calls, so that the product carries no stopwatch. The sum is less than a forward by
//! what lies between the ops, which `--bench forward` tells. Symbol by symbol instead, on a machine with `perf`:
//! `perf record -e cpu-clock -F 999 BENCH --rows 1 --dtypes bfloat16 && perf report --no-children`, BENCH being the
//! binary that `cargo bench -p foretoken-benches --bench forward --no-run` names.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use clap::Parser;
use foretoken_benches::target::{Format, ModelOptions};
use foretoken_kernels::{
    Linear, Paging, add, paged_attention, rms_norm, rotate, silu_mul, write_kv,
};
use foretoken_model::Config;

/// Measures where a forward's time goes.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Number format
    #[arg(long, value_enum, default_value = "bfloat16")]
    dtype: Format,
    /// Rows of a forward, up to 64
    #[arg(long, value_delimiter = ',', default_values = ["1", "16", "64"])]
    rows: Vec<usize>,
    /// Positions computed before
    #[arg(long, default_value_t = 256)]
    context: usize,
    /// Seconds for each number of rows, three forwards at least
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

const STAGES: [&str; 12] = [
    "embedding",
    "norms",
    "linear: q, k, v",
    "rotary",
    "write k, v",
    "attention",
    "linear: attention's output",
    "linear: gate and up",
    "silu",
    "linear: down",
    "add",
    "linear: lm head",
];

fn main() -> Result<()> {
    let options = Options::parse();
    let config = Config::from_json(&options.model.source().read("config.json")?)?;
    let dtype = match options.dtype {
        Format::Float32 => DType::F32,
        Format::Auto | Format::Bfloat16 | Format::Int8 => DType::BF16,
    };
    let pack = match options.dtype {
        Format::Int8 => Linear::quantize,
        _ => Linear::pack,
    };
    let replay = Replay::new(&config, dtype, pack, options.context)?;
    let pool = options.model.pool()?;
    println!(
        "{}, {}, context {}, {} threads, ms per forward and share\n",
        options.model.source().name(),
        options.dtype.name(),
        options.context,
        pool.current_num_threads()
    );
    let columns = options
        .rows
        .iter()
        .map(|&rows| pool.install(|| replay.measure(rows, options.seconds)))
        .collect::<Result<Vec<_>>>()?;
    print(&options.rows, &columns);
    Ok(())
}

fn print(rows: &[usize], columns: &[[Duration; STAGES.len()]]) {
    let head: String = rows.iter().map(|rows| format!(" {rows} rows |")).collect();
    println!("| stage |{head}\n| --- |{}", " --: |".repeat(rows.len()));
    let total = |column: &[Duration; STAGES.len()]| column.iter().sum::<Duration>().as_secs_f64();
    for (stage, name) in STAGES.iter().enumerate() {
        let cell = |column: &[Duration; STAGES.len()]| {
            let time = column[stage].as_secs_f64();
            let share = time / total(column) * 100.0;
            format!(" {:.3} ({share:.0} %) |", time * 1e3)
        };
        println!("| {name} |{}", columns.iter().map(cell).collect::<String>());
    }
    let sums: String = columns
        .iter()
        .map(|column| format!(" {:.3} |", total(column) * 1e3))
        .collect();
    println!("| all |{sums}");
}

/// A model's shape with weights that say nothing.
struct Replay {
    config: Config,
    dtype: DType,
    context: usize,
    layers: Vec<Layer>,
    lm_head: Linear,
    norm: Tensor,
    angles: Tensor,
}

struct Layer {
    qkv: Linear,
    output: Linear,
    gate_up: Linear,
    down: Linear,
    cache: Tensor,
}

const BLOCK_SIZE: usize = 16;
const MAX_ROWS: usize = 64;

impl Replay {
    fn new(
        config: &Config,
        dtype: DType,
        pack: fn(&Tensor) -> candle_core::Result<Linear>,
        context: usize,
    ) -> Result<Self> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let num_slots = (context + MAX_ROWS).next_multiple_of(BLOCK_SIZE);
        let linear = |outputs: usize, inputs: usize| {
            let weight = Tensor::full(1.0 / inputs as f32, (outputs, inputs), &Device::Cpu)?;
            pack(&weight.to_dtype(dtype)?)
        };
        let layer = |_| {
            Ok(Layer {
                qkv: linear(q_width + 2 * kv_width, hidden)?,
                output: linear(hidden, q_width)?,
                gate_up: linear(2 * intermediate, hidden)?,
                down: linear(hidden, intermediate)?,
                cache: Tensor::zeros((num_slots, 2 * kv_width), dtype, &Device::Cpu)?,
            })
        };
        let num_positions = context + MAX_ROWS;
        Ok(Self {
            layers: (0..config.num_layers).map(layer).collect::<Result<_>>()?,
            lm_head: linear(config.vocab_size, hidden)?,
            norm: Tensor::ones((1, hidden), dtype, &Device::Cpu)?,
            angles: Tensor::zeros(
                (num_positions, config.head_dim / 2),
                DType::F32,
                &Device::Cpu,
            )?,
            config: config.clone(),
            dtype,
            context,
        })
    }

    /// Each stage's time in the fastest forward.
    fn measure(&self, num_rows: usize, seconds: f64) -> Result<[Duration; STAGES.len()]> {
        ensure!(
            (1..=MAX_ROWS).contains(&num_rows),
            "--rows names {num_rows}, expected 1 to {MAX_ROWS}"
        );
        let mut best = [Duration::MAX / STAGES.len() as u32; STAGES.len()];
        let started = Instant::now();
        for run in 0.. {
            if run > 2 && started.elapsed().as_secs_f64() > seconds {
                break;
            }
            let times = self.forward(num_rows)?;
            if times.iter().sum::<Duration>() < best.iter().sum() {
                best = times;
            }
        }
        Ok(best)
    }

    fn forward(&self, num_rows: usize) -> Result<[Duration; STAGES.len()]> {
        let config = &self.config;
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let paging = self.paging(num_rows);
        let slots: Vec<u32> = paging.positions.iter().map(|&slot| slot as u32).collect();
        let zeros = |width| Tensor::zeros((num_rows, width), self.dtype, &Device::Cpu);
        let (x, normed, added) = (
            zeros(config.hidden_size)?,
            zeros(config.hidden_size)?,
            zeros(config.hidden_size)?,
        );
        let (qkv, mixed) = (zeros(q_width + 2 * kv_width)?, zeros(q_width)?);
        let (q, kv) = (
            qkv.narrow(1, 0, q_width)?,
            qkv.narrow(1, q_width, 2 * kv_width)?,
        );
        let (gate_up, gated) = (
            zeros(2 * config.intermediate_size)?,
            zeros(config.intermediate_size)?,
        );
        let logits = Tensor::zeros((num_rows, config.vocab_size), DType::F32, &Device::Cpu)?;
        let norm = || rms_norm(&x, &self.norm, config.rms_norm_eps as f32, &normed);
        let num_rotated = config.num_heads + config.num_kv_heads;
        let (angles, positions) = (&self.angles, &paging.positions);

        let mut watch = Stopwatch::default();
        watch.time(0, || self.lm_head.rows(&slots, &x))?;
        for layer in &self.layers {
            watch.time(1, norm)?;
            watch.time(2, || layer.qkv.forward(&normed, &qkv))?;
            watch.time(3, || rotate(&qkv, angles, angles, positions, num_rotated))?;
            watch.time(4, || write_kv(&layer.cache, &kv, &slots))?;
            let attention = || paged_attention(&q, &layer.cache, &paging, config.head_dim, &mixed);
            watch.time(5, attention)?;
            watch.time(6, || layer.output.forward(&mixed, &added))?;
            watch.time(10, || add(&x, &added))?;
            watch.time(1, norm)?;
            watch.time(7, || layer.gate_up.forward(&normed, &gate_up))?;
            watch.time(8, || silu_mul(&gate_up, &gated))?;
            watch.time(9, || layer.down.forward(&gated, &added))?;
            watch.time(10, || add(&x, &added))?;
        }
        watch.time(1, norm)?;
        watch.time(11, || self.lm_head.forward(&normed, &logits))?;
        Ok(watch.times)
    }

    /// A root at `context` and a chain behind it.
    fn paging(&self, num_rows: usize) -> Paging {
        let num_blocks = (self.context + MAX_ROWS).div_ceil(BLOCK_SIZE);
        Paging {
            block_size: BLOCK_SIZE,
            block_tables: (0..num_blocks as u32).collect(),
            table_starts: vec![0, num_blocks],
            context_lens: vec![self.context],
            seqs: vec![0; num_rows],
            positions: (self.context..self.context + num_rows).collect(),
            ancestors: (0..num_rows).map(|node| u64::MAX >> (63 - node)).collect(),
            ..Paging::default()
        }
    }
}

#[derive(Default)]
struct Stopwatch {
    times: [Duration; STAGES.len()],
}

impl Stopwatch {
    fn time(
        &mut self,
        stage: usize,
        op: impl FnOnce() -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        let started = Instant::now();
        op()?;
        self.times[stage] += started.elapsed();
        Ok(())
    }
}
