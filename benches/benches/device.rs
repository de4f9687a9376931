//! Kernels against what the device itself can do: the speed of a plain copy, and of a large product by its library.
//!
//! `cargo bench -p foretoken-benches --bench device [-- --device cuda --quick]`
//!
//! One JSON object a line. `bandwidth_share` is of a copy's bytes per second, `rate_share` of the large product's
//! operations per second.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use clap::Parser;
use foretoken_benches::target::device_of;
use foretoken_kernels::{Linear, Noise, Paging, RowSampling, paged_attention, sample_rows};
use foretoken_server::config::DeviceChoice;
use serde_json::json;

/// Inputs and outputs of the matrices of a layer of Llama-3.1-8B, then its last; small ones for a dry run.
const SHAPES: [(usize, usize); 5] = [
    (4096, 6144),
    (4096, 4096),
    (4096, 28_672),
    (14_336, 4096),
    (4096, 128_256),
];
const QUICK_SHAPES: [(usize, usize); 2] = [(256, 512), (1032, 128)];
const ROWS: [usize; 8] = [1, 4, 8, 16, 32, 64, 128, 512];
const CONTEXTS: [usize; 4] = [128, 1024, 4096, 16_384];

/// Measures kernels.
#[derive(Parser)]
struct Options {
    /// Where: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Small shapes, once each: to see that everything runs
    #[arg(long)]
    quick: bool,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

struct Bench {
    device: Device,
    is_quick: bool,
    /// Of a copy: read and written bytes per second.
    bandwidth: f64,
    /// Of a large product: operations per second.
    rate: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut bench = Bench {
        device: device_of(options.device)?,
        is_quick: options.quick,
        bandwidth: 1.0,
        rate: 1.0,
    };
    bench.ceilings()?;
    let shapes = if options.quick {
        &QUICK_SHAPES[..]
    } else {
        &SHAPES
    };
    for &(inputs, outputs) in shapes {
        bench.linear(inputs, outputs)?;
    }
    for context in CONTEXTS {
        if !options.quick || context == CONTEXTS[0] {
            for rows in [1, 8, 16, 64] {
                bench.attention(context, rows)?;
            }
        }
    }
    bench.sampling()
}

impl Bench {
    /// Seconds of one call: the median of a few turns, each long enough for the clock.
    fn time(&self, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
        let (turns, calls) = if self.is_quick { (1, 1) } else { (7, 50) };
        call()?;
        let mut times = Vec::new();
        for _ in 0..turns {
            self.device.synchronize()?;
            let start = Instant::now();
            for _ in 0..calls {
                call()?;
            }
            self.device.synchronize()?;
            times.push(start.elapsed().as_secs_f64() / f64::from(calls));
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }

    fn say(&self, name: &str, rows: usize, seconds: f64, bytes: f64, operations: f64) {
        let line = json!({
            "name": name,
            "rows": rows,
            "us": seconds * 1e6,
            "gb_per_s": bytes / seconds / 1e9,
            "bandwidth_share": bytes / seconds / self.bandwidth,
            "rate_share": operations / seconds / self.rate,
        });
        println!("{line}");
    }

    fn ceilings(&mut self) -> Result<()> {
        let len = if self.is_quick { 1 << 20 } else { 1 << 30 };
        let data = Tensor::zeros(len, DType::U8, &self.device)?;
        let to = Tensor::zeros(len, DType::U8, &self.device)?;
        let seconds = self.time(|| Ok(to.slice_set(&data, 0, 0)?))?;
        self.bandwidth = 2.0 * len as f64 / seconds;
        let side = if self.is_quick { 128 } else { 8192 };
        let a = self.random(side, side)?;
        let seconds = self.time(|| {
            black_box(a.matmul(&a)?);
            Ok(())
        })?;
        self.rate = 2.0 * (side as f64).powi(3) / seconds;
        let line = json!({
            "name": "ceilings",
            "copy_gb_per_s": self.bandwidth / 1e9,
            "product_tflop_per_s": self.rate / 1e12,
        });
        println!("{line}");
        Ok(())
    }

    fn random(&self, rows: usize, width: usize) -> Result<Tensor> {
        let values = Tensor::randn(0f32, 1.0, (rows, width), &self.device)?;
        Ok(values.to_dtype(DType::BF16)?)
    }

    /// Matrices enough that none is left in a cache when its turn comes again.
    fn linear(&self, inputs: usize, outputs: usize) -> Result<()> {
        let weight_bytes = 2 * inputs * outputs;
        let working_set = if self.is_quick { 1 } else { 512 << 20 };
        let matrices = (0..usize::div_ceil(working_set, weight_bytes) + 1)
            .map(|_| Ok(Linear::pack(&self.random(outputs, inputs)?)?))
            .collect::<Result<Vec<_>>>()?;
        for rows in ROWS {
            let x = self.random(rows, inputs)?;
            let y = Tensor::zeros((rows, outputs), DType::BF16, &self.device)?;
            let mut turn = 0;
            let seconds = self.time(|| {
                turn += 1;
                Ok(matrices[turn % matrices.len()].forward(&x, &y)?)
            })?;
            let bytes = weight_bytes + 2 * rows * (inputs + outputs);
            let operations = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
            let name = format!("linear {inputs} to {outputs}");
            self.say(&name, rows, seconds, bytes as f64, operations);
        }
        Ok(())
    }

    /// A chain of rows behind a context, in Llama-3.1-8B's heads.
    fn attention(&self, context: usize, rows: usize) -> Result<()> {
        const HEAD_DIM: usize = 128;
        const HEADS: usize = 32;
        const KV_HEADS: usize = 8;
        const BLOCK_SIZE: usize = 16;
        let num_blocks = (context + 64).div_ceil(BLOCK_SIZE);
        let paging = Paging {
            block_size: BLOCK_SIZE,
            block_tables: (0..num_blocks as u32).rev().collect(),
            table_starts: vec![0, num_blocks],
            context_lens: vec![context],
            seqs: vec![0; rows],
            positions: (context..context + rows).collect(),
            ancestors: (0..rows).map(|node| u64::MAX >> (63 - node)).collect(),
            ..Paging::default()
        };
        let q = self.random(rows, HEADS * HEAD_DIM)?;
        let cache = self.random(num_blocks * BLOCK_SIZE, 2 * KV_HEADS * HEAD_DIM)?;
        let y = Tensor::zeros((rows, HEADS * HEAD_DIM), DType::BF16, &self.device)?;
        let seconds = self.time(|| Ok(paged_attention(&q, &cache, &paging, HEAD_DIM, &y)?))?;
        let keys = (context + rows) as f64;
        let bytes = keys * (4 * KV_HEADS * HEAD_DIM) as f64;
        let operations = 4.0 * rows as f64 * keys * (HEADS * HEAD_DIM) as f64;
        let name = format!("attention after {context}");
        self.say(&name, rows, seconds, bytes, operations);
        Ok(())
    }

    fn sampling(&self) -> Result<()> {
        let vocab = if self.is_quick { 4096 } else { 128_256 };
        for (name, top_k, top_p) in [
            ("draw", 0, 1.0),
            ("draw top-p", 0, 0.9),
            ("draw top-k", 50, 0.9),
        ] {
            for rows in [1, 16, 64] {
                let logits = Tensor::randn(0f32, 3.0, (rows, vocab), &self.device)?;
                let row = |position| RowSampling {
                    noise: Noise::new(7),
                    position,
                    temperature: 1.0,
                    min_p: 0.0,
                    top_k,
                    top_p,
                };
                let draws: Vec<RowSampling> = (0..rows).map(row).collect();
                let seconds = self.time(|| {
                    black_box(sample_rows(&logits, &draws, &[])?);
                    Ok(())
                })?;
                self.say(name, rows, seconds, (4 * rows * vocab) as f64, 0.0);
            }
        }
        Ok(())
    }
}
