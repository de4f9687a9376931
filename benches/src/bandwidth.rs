//! How fast memory can be read here: what no forward can outrun.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// Words that are summed side by side, so that no addition waits for another.
const LANES: usize = 16;

/// Bytes a second at which the current thread pool reads a buffer of `num_bytes` that was read just before, so that
/// what fits the caches comes out of them, as a small model's weights do. The best of many passes.
pub fn read_bandwidth(num_bytes: usize) -> f64 {
    const LIMIT: Duration = Duration::from_secs(1);
    let buffer = vec![1u64; num_bytes.div_ceil(8).next_multiple_of(LANES)];
    let share = buffer.len().div_ceil(rayon::current_num_threads());
    let mut best = Duration::MAX;
    let started = Instant::now();
    for pass in 0.. {
        if pass > 2 && started.elapsed() > LIMIT {
            break;
        }
        let pass = Instant::now();
        buffer
            .par_chunks(share.next_multiple_of(LANES))
            .for_each(|share| {
                black_box(sum(share));
            });
        best = best.min(pass.elapsed());
    }
    (buffer.len() * 8) as f64 / best.as_secs_f64()
}

fn sum(words: &[u64]) -> [u64; LANES] {
    let mut sums = [0u64; LANES];
    for words in words.chunks_exact(LANES) {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums
}
