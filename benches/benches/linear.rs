//! `linear` against the tensor library's product of the same dtype and a plain read of the same bytes.
//!
//! `cargo bench -p foretoken-benches --bench linear [-- --shape N --threads N --dtype bf16]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use clap::{Parser, ValueEnum};
use foretoken_kernels::Linear;
use rayon::prelude::*;

const SHAPES: [(usize, usize); 3] = [(768, 2048), (2048, 5632), (4096, 14336)];
const ROWS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 256];

/// Bytes of weights that are cycled through, so that none are left in a cache when their turn comes again.
const WORKING_SET: usize = 300 << 20;

/// Measures the matrix product.
#[derive(Parser)]
struct Options {
    /// Which shape of 0, 1, 2; all by default
    #[arg(long)]
    shape: Option<usize>,
    #[arg(long)]
    dtype: Option<Kind>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Milliseconds for each figure
    #[arg(long, default_value_t = 250)]
    ms: u64,
    /// Leaves the tensor library out
    #[arg(long)]
    only_ours: bool,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What weights are held in.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Kind {
    Bf16,
    F32,
    Int8,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()?;
    println!("{} threads, µs per product\n", options.threads);
    let columns = ROWS.map(|rows| format!(" {rows} |")).concat();
    println!("| [in, out], dtype | who | read |{columns} GB/s at 1 | GFLOP/s at 64 |");
    println!(
        "| --- | --- | --: |{} --: | --: |",
        " --: |".repeat(ROWS.len())
    );
    for (index, shape) in SHAPES.into_iter().enumerate() {
        for kind in [Kind::Bf16, Kind::F32, Kind::Int8] {
            if options.shape.is_none_or(|wanted| wanted == index)
                && options.dtype.is_none_or(|wanted| wanted == kind)
            {
                pool.install(|| measure(&options, shape, kind))?;
            }
        }
    }
    Ok(())
}

/// One matrix's products, ours and the tensor library's in turn for each number of rows.
fn measure(options: &Options, (num_inputs, num_outputs): (usize, usize), kind: Kind) -> Result<()> {
    let element = match kind {
        Kind::Int8 => 1,
        Kind::Bf16 => 2,
        Kind::F32 => 4,
    };
    let bytes = num_inputs * num_outputs * element;
    let num_copies = (WORKING_SET / bytes).max(2);
    let dtype = match kind {
        Kind::Bf16 => DType::BF16,
        Kind::F32 | Kind::Int8 => DType::F32,
    };
    let weights = Tensor::randn(0f32, 0.05, (num_outputs, num_inputs), &Device::Cpu)?;
    let limit = Duration::from_millis(options.ms);
    let read = plain_read(bytes, num_copies, limit);
    let label = format!("[{num_inputs}, {num_outputs}], {kind:?}");
    let ours: Vec<Linear> = (0..num_copies)
        .map(|_| match kind {
            Kind::Int8 => Linear::quantize(&weights),
            _ => Linear::pack(&weights.to_dtype(dtype)?.copy()?),
        })
        .collect::<candle_core::Result<_>>()?;
    let times = ROWS.map(|rows| {
        let x = Tensor::randn(0f32, 1.0, (rows, num_inputs), &Device::Cpu)?.to_dtype(dtype)?;
        let y = Tensor::zeros((rows, num_outputs), dtype, &Device::Cpu)?;
        time(limit, num_copies, |copy| ours[copy].forward(&x, &y))
    });
    print_row(
        &label,
        "foretoken",
        read,
        times,
        bytes,
        num_inputs * num_outputs,
    )?;
    drop(ours);
    if options.only_ours {
        return Ok(());
    }
    let theirs: Vec<QMatMul> = (0..num_copies)
        .map(|_| match kind {
            Kind::Int8 => QMatMul::from_qtensor(QTensor::quantize(&weights, GgmlDType::Q8_0)?),
            _ => Ok(QMatMul::Tensor(weights.to_dtype(dtype)?.copy()?)),
        })
        .collect::<candle_core::Result<_>>()?;
    let times = ROWS.map(|rows| {
        let x = Tensor::randn(0f32, 1.0, (rows, num_inputs), &Device::Cpu)?.to_dtype(dtype)?;
        time(limit, num_copies, |copy| theirs[copy].forward(&x).map(drop))
    });
    print_row(
        &label,
        "candle",
        read,
        times,
        bytes,
        num_inputs * num_outputs,
    )
}

fn print_row(
    label: &str,
    who: &str,
    read: Duration,
    times: [candle_core::Result<Duration>; ROWS.len()],
    bytes: usize,
    products: usize,
) -> Result<()> {
    let mut row = format!("| {label} | {who} | {:.0} |", micros(read));
    let mut gigabytes = 0.0;
    let mut gigaflops = 0.0;
    for (time, rows) in times.into_iter().zip(ROWS) {
        let time = time?;
        row += &format!(" {:.0} |", micros(time));
        match rows {
            1 => gigabytes = bytes as f64 / time.as_secs_f64() / 1e9,
            64 => gigaflops = (2 * rows * products) as f64 / time.as_secs_f64() / 1e9,
            _ => {}
        }
    }
    println!("{row} {gigabytes:.1} | {gigaflops:.0} |");
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The best mean of passes over all copies.
fn time(
    limit: Duration,
    num_copies: usize,
    mut product: impl FnMut(usize) -> candle_core::Result<()>,
) -> candle_core::Result<Duration> {
    let (started, mut best) = (Instant::now(), Duration::MAX);
    let pass = num_copies.min(16);
    let mut copy = 0;
    loop {
        let pass_started = Instant::now();
        for _ in 0..pass {
            product(copy)?;
            copy = (copy + 1) % num_copies;
        }
        best = best.min(pass_started.elapsed() / pass as u32);
        if started.elapsed() > limit {
            return Ok(best);
        }
    }
}

/// All threads adding up as many bytes, out of as many copies.
fn plain_read(bytes: usize, num_copies: usize, limit: Duration) -> Duration {
    let words: Vec<Vec<u64>> = (0..num_copies)
        .map(|copy| vec![copy as u64; bytes / 8])
        .collect();
    let sum = |copy: usize| {
        let chunk = words[copy].len().div_ceil(rayon::current_num_threads());
        let sums = words[copy].par_chunks(chunk).map(|words| {
            let lanes = words.chunks_exact(64).fold([0u64; 64], |mut sums, words| {
                for (sum, word) in sums.iter_mut().zip(words) {
                    *sum = sum.wrapping_add(*word);
                }
                sums
            });
            lanes.iter().fold(0u64, |sum, lane| sum.wrapping_add(*lane))
        });
        black_box(sums.reduce(|| 0, u64::wrapping_add));
        Ok(())
    };
    time(limit, num_copies, sum).unwrap_or_default()
}
