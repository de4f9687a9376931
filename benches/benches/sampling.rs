//! What drawing one token costs, by vocabulary and by what the request asks for.
//!
//! `cargo bench -p foretoken-benches --bench sampling`

use std::hint::black_box;
use std::time::{Duration, Instant};

use foretoken_kernels::{log_sum_exp, top_k};
use foretoken_model::{Sampler, SamplingParams, Token};

const VOCABULARIES: [usize; 3] = [8_192, 32_000, 128_256];
const ROWS: usize = 16;
const REPETITIONS: usize = 7;

fn main() {
    println!("microseconds per row (best of {REPETITIONS} runs over {ROWS} rows)\n");
    let columns = VOCABULARIES.map(|vocabulary| format!(" {vocabulary} |"));
    println!("| |{}", columns.concat());
    println!("| --- |{}", VOCABULARIES.map(|_| " --: |").concat());
    let rows = VOCABULARIES.map(|vocabulary| {
        let row = |seed| logits(vocabulary, seed);
        (1..=ROWS as u64).map(row).collect::<Vec<_>>()
    });
    for (name, params) in settings() {
        let times = rows
            .each_ref()
            .map(|rows| format!(" {:.1} |", micros(draw(rows, &params))));
        println!("| {name} |{}", times.concat());
    }
    for (name, scan) in SCANS {
        let times = rows
            .each_ref()
            .map(|rows| format!(" {:.1} |", micros(time(rows, scan))));
        println!("| {name} |{}", times.concat());
    }
}

/// What is done with a row.
type Scan = fn(&[f32]);

const SCANS: [(&str, Scan); 2] = [
    ("top_k, k 8", |row| {
        black_box(top_k(row, 8));
    }),
    ("log_sum_exp", |row| {
        black_box(log_sum_exp(row));
    }),
];

/// The time of one row.
fn time(rows: &[Vec<f32>], scan: Scan) -> Duration {
    let run = || {
        let started = Instant::now();
        rows.iter().for_each(|row| scan(row));
        started.elapsed()
    };
    fastest(run) / rows.len() as u32
}

fn settings() -> Vec<(&'static str, SamplingParams)> {
    let at = |temperature| SamplingParams {
        temperature,
        seed: 7,
        ..SamplingParams::greedy()
    };
    let top_p = SamplingParams {
        top_p: 0.95,
        ..at(0.7)
    };
    let top_k = SamplingParams {
        top_k: 50,
        ..at(1.0)
    };
    let all_filters = SamplingParams {
        top_k: 40,
        top_p: 0.9,
        min_p: 0.05,
        ..at(0.8)
    };
    let penalties = SamplingParams {
        presence_penalty: 0.3,
        frequency_penalty: 0.2,
        repetition_penalty: 1.1,
        ..at(1.0)
    };
    let bias = SamplingParams {
        logit_bias: (0..20).map(|token| (token * 97, 1.5)).collect(),
        ..at(1.0)
    };
    vec![
        ("greedy", at(0.0)),
        ("T 1", at(1.0)),
        ("T 0.7, top-p 0.95", top_p),
        ("T 1, top-k 50", top_k),
        ("T 0.8, top-k 40, top-p 0.9, min-p 0.05", all_filters),
        ("T 1, penalties over 500 tokens", penalties),
        ("T 1, 20 biases", bias),
    ]
}

/// The time of one draw.
fn draw(rows: &[Vec<f32>], params: &SamplingParams) -> Duration {
    let prompt: Vec<Token> = (0..500).map(|index| index * 13 % 4_001).collect();
    let run = || {
        let mut sampler = Sampler::new(params.clone(), &prompt);
        sampler.sample(&rows[0], 0);
        let started = Instant::now();
        for (position, row) in rows.iter().enumerate() {
            black_box(sampler.sample(row, position + 1));
        }
        started.elapsed()
    };
    fastest(run) / rows.len() as u32
}

fn fastest(run: impl Fn() -> Duration) -> Duration {
    (0..REPETITIONS)
        .map(|_| run())
        .min()
        .unwrap_or(Duration::MAX)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A row as language models give them: a few likely tokens over a normal background. Every fourth row is undecided.
fn logits(vocabulary: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let mut row: Vec<f32> = (0..vocabulary)
        .map(|_| {
            // Twelve uniforms summed are close to a normal number.
            3.0 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)
        })
        .collect();
    let height = if seed.is_multiple_of(4) { 15.0 } else { 22.0 };
    for rank in 0..30 {
        let token = (uniform() * vocabulary as f32) as usize;
        row[token] = height - 0.6 * rank as f32 + uniform();
    }
    row
}
