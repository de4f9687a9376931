//! What a target forward costs by its number of rows: the price list of verification.
//!
//! `cargo bench -p foretoken-benches --bench forward [-- --model DIR --threads N --dtypes bfloat16 --rows 1,16,64]`
//!
//! The *bandwidth bound* is the time that reading takes: the weights once, and the keys and values of the context
//! once, as fast as the same threads read a plain buffer of the weights' size.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use foretoken_benches::bandwidth::read_bandwidth;
use foretoken_benches::target::{Format, ModelOptions, Target};
use foretoken_model::Token;

/// Measures what a forward costs by its rows.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Number formats
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["bfloat16", "float32"])]
    dtypes: Vec<Format>,
    /// Rows of a forward; more than 64 are a prompt's
    #[arg(long, value_delimiter = ',', default_values = ["1", "2", "4", "8", "16", "32", "64", "256"])]
    rows: Vec<usize>,
    /// Positions computed before
    #[arg(long, default_value_t = 256)]
    context: usize,
    /// Seconds for each number format, a round of all rows at least
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let pool = options.model.pool()?;
    println!(
        "{}, context {}, {} threads\n",
        options.model.source().name(),
        options.context,
        pool.current_num_threads()
    );
    for (index, &dtype) in options.dtypes.iter().enumerate() {
        let most = options.rows.iter().max().context("--rows is empty")?;
        let llama = options.model.load(dtype)?.llama;
        let mut target = Target::new(llama, options.context + most)?;
        let (times, bandwidth) = pool.install(|| {
            let times = price_list(&mut target, &options)?;
            anyhow::Ok((times, read_bandwidth(target.weight_bytes())))
        })?;
        if index == 0 {
            print_row("", &options.rows, |rows| rows.to_string());
            print_row("---", &options.rows, |_| "--:".to_owned());
        }
        report(&target, &dtype.name(), options.context, &times, bandwidth);
    }
    Ok(())
}

/// Each number of rows has the machine for so long in its turn: long enough that caches hold what they would hold if
/// nothing else ran.
const TURN: Duration = Duration::from_millis(50);

/// The times of each number of rows, rising. They take turns, so that a slow minute of the machine slows all of them.
fn price_list(target: &mut Target, options: &Options) -> Result<Vec<Vec<Duration>>> {
    let context = options.context;
    let vocab_size = target.llama().config().vocab_size;
    let most = options.rows.iter().copied().max().unwrap_or(0);
    let tokens: Vec<Token> = (0..context + most)
        .map(|index| (index * 37 % vocab_size) as Token)
        .collect();
    target
        .forward(0, &tokens[..context])
        .context("the context")?;
    let mut times = vec![Vec::new(); options.rows.len()];
    let started = Instant::now();
    loop {
        for (times, rows) in times.iter_mut().zip(&options.rows) {
            let turn = Instant::now();
            while turn.elapsed() < TURN {
                let forward = Instant::now();
                target.forward(context, &tokens[context..context + rows])?;
                times.push(forward.elapsed());
            }
        }
        if started.elapsed().as_secs_f64() > options.seconds {
            times.iter_mut().for_each(|times| times.sort_unstable());
            return Ok(times);
        }
    }
}

fn report(target: &Target, dtype: &str, context: usize, times: &[Vec<Duration>], bandwidth: f64) {
    let seconds = |pick: fn(&[Duration]) -> Duration| -> Vec<f64> {
        times
            .iter()
            .map(|times| pick(times).as_secs_f64())
            .collect()
    };
    let medians = seconds(|times| times[times.len() / 2]);
    let seconds = seconds(|times| times[0]);
    let bytes = (target.weight_bytes() + context * target.slot_bytes()) as f64;
    let bound = bytes / bandwidth;
    let one_row = seconds[0];
    for (name, times) in [("best", &seconds), ("median", &medians)] {
        print_row(&format!("{dtype}: {name} ms"), times, |time| {
            format!("{:.3}", time * 1e3)
        });
    }
    print_row(&format!("{dtype}: cost to the first"), &seconds, |time| {
        format!("{:.2}", time / one_row)
    });
    print_row(&format!("{dtype}: share of the bound"), &seconds, |time| {
        format!("{:.0} %", bound / time * 100.0)
    });
    println!(
        "| {dtype}: the first is {:.1} forwards/s; {:.1} MB at {:.1} GB/s are {:.3} ms |",
        1.0 / one_row,
        bytes / 1e6,
        bandwidth / 1e9,
        bound * 1e3
    );
}

fn print_row<T>(name: &str, values: &[T], cell: impl Fn(&T) -> String) {
    let cells: String = values
        .iter()
        .map(|value| format!(" {} |", cell(value)))
        .collect();
    println!("| {name} |{cells}");
}
