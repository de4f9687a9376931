//! Prompts of common words, which are about one token each for most vocabularies.

use clap::Args;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::question::Question;

const WORDS: &str = include_str!("../../../workloads/words.txt");

/// Lengths of generated prompts, in words.
#[derive(Args, Clone, Debug)]
pub struct SyntheticOptions {
    /// Words of a random prompt, or of a random tail behind a shared prefix
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub input_len: usize,

    /// Lengths are spread evenly over --input-len times 1 - R to 1 + R
    #[arg(long, value_name = "R", default_value_t = 0.5, value_parser = ratio)]
    pub range_ratio: f64,

    /// Words of a shared prefix
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prefix_len: usize,

    /// Different shared prefixes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub num_prefixes: u16,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self {
            input_len: 128,
            range_ratio: 0.5,
            prefix_len: 512,
            num_prefixes: 4,
        }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text
        .parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Generated questions before they repeat.
const NUM_QUESTIONS: usize = 1024;

/// Questions that share nothing but their words.
pub(super) fn random(options: &SyntheticOptions, seed: u64) -> Vec<Question> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..NUM_QUESTIONS)
        .map(|index| question(index, "random", tail(options, &mut rng)))
        .collect()
}

/// Questions that begin with one of a few prefixes, each as often as the others.
pub(super) fn shared_prefix(options: &SyntheticOptions, seed: u64) -> Vec<Question> {
    let mut rng = StdRng::seed_from_u64(seed);
    let prefixes: Vec<String> = (0..options.num_prefixes)
        .map(|_| words(options.prefix_len, &mut rng))
        .collect();
    (0..NUM_QUESTIONS)
        .map(|index| {
            let prefix = &prefixes[index % prefixes.len()];
            question(
                index,
                "shared-prefix",
                format!("{prefix} {}", tail(options, &mut rng)),
            )
        })
        .collect()
}

fn question(index: usize, category: &str, prompt: String) -> Question {
    Question {
        id: index.to_string(),
        category: category.to_owned(),
        prompt,
        traced: None,
    }
}

fn tail(options: &SyntheticOptions, rng: &mut StdRng) -> String {
    let (mean, ratio) = (options.input_len as f64, options.range_ratio);
    let len = rng.random_range(mean * (1.0 - ratio)..=mean * (1.0 + ratio));
    words(len.round() as usize, rng)
}

/// `len` words, at least one.
pub(super) fn words(len: usize, rng: &mut StdRng) -> String {
    let list: Vec<&str> = WORDS.split_whitespace().collect();
    let draw = (0..len.max(1)).map(|_| list[rng.random_range(0..list.len())]);
    draw.collect::<Vec<_>>().join(" ")
}
