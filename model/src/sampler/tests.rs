//! The sampler draws what a straightforward one draws.

use std::cmp::Ordering;

use foretoken_kernels::Noise;
use foretoken_kernels::math::exp;
use proptest::prelude::*;

use super::*;

/// Every token's score in a list of its own, sorted and cut as the contract says.
fn straightforward(params: &SamplingParams, logits: &[f32], position: usize) -> Token {
    if params.is_greedy() {
        return first_best(logits);
    }
    let scores: Vec<f32> = logits
        .iter()
        .map(|logit| logit / params.temperature)
        .collect();
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let floor = match params.min_p > 0.0 {
        true => largest + params.min_p.ln(),
        false => f32::NEG_INFINITY,
    };
    let noise = Noise::new(params.seed);
    let perturbed = |&(token, score): &(Token, f32)| (token, score + noise.at(position, token));
    let mut left: Vec<(Token, f32)> = (0..)
        .zip(scores.iter().copied())
        .filter(|&(_, score)| score >= floor)
        .collect();
    if params.top_k == 0 && params.top_p >= 1.0 {
        // Without filters a score of minus infinity is not drawn, were it the only one.
        left.retain(|&(_, score)| score > f32::NEG_INFINITY);
    }
    left.sort_by(order);
    if params.top_k > 0 {
        left.truncate(params.top_k as usize);
    }
    if params.top_p < 1.0 {
        let weight = |score: f32| f64::from(exp(score - largest));
        let target =
            f64::from(params.top_p) * left.iter().map(|&(_, score)| weight(score)).sum::<f64>();
        let mut sum = 0.0;
        let last = left.iter().position(|&(_, score)| {
            sum += weight(score);
            sum >= target
        });
        left.truncate(last.map_or(left.len(), |last| last + 1));
    }
    let drawn = left.iter().map(perturbed).min_by(order);
    drawn.map_or_else(|| first_best(&scores), |(token, _)| token)
}

fn order(a: &(Token, f32), b: &(Token, f32)) -> Ordering {
    let by_score = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
    by_score.then(a.0.cmp(&b.0))
}

fn first_best(scores: &[f32]) -> Token {
    let mut winner = (0, f32::NEG_INFINITY);
    for (token, &score) in (0..).zip(scores) {
        if score > winner.1 {
            winner = (token, score);
        }
    }
    winner.0
}

/// Rows of every kind that a model could give, broken ones too.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let usual = -15.0..15.0_f32;
    let peaked = prop_oneof![30 => -9.0..9.0_f32, 1 => 15.0..25.0_f32];
    let tied = (-4..4_i8).prop_map(f32::from);
    let close = (0..4_u32).prop_map(|step| f32::from_bits(10.0_f32.to_bits() + step));
    let huge = any::<f32>();
    let broken = prop_oneof![
        20 => -15.0..15.0_f32,
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        4 => Just(f32::NEG_INFINITY),
        1 => Just(3e38),
    ];
    let hopeless = prop_oneof![Just(f32::NAN), Just(f32::NEG_INFINITY)];
    let equal = (any::<f32>(), 1..700_usize).prop_map(|(value, len)| vec![value; len]);
    fn row(values: impl Strategy<Value = f32>) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(values, 1..700)
    }
    prop_oneof![
        row(usual),
        row(peaked),
        row(tied),
        row(close),
        row(huge),
        row(broken),
        row(hopeless),
        equal
    ]
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let temperature = prop_oneof![
        Just(1.0_f32),
        Just(0.0),
        Just(1e-5),
        Just(1e5),
        0.1..3.0_f32
    ];
    let top_k = prop_oneof![Just(0_u32), 1..60_u32, Just(1_000_000)];
    let top_p = prop_oneof![Just(1.0_f32), Just(0.5), Just(1e-6), 0.01..1.0_f32];
    let min_p = prop_oneof![Just(0.0_f32), Just(1.0), 0.001..0.5_f32];
    (temperature, top_k, top_p, min_p, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            ..SamplingParams::greedy()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn the_same_tokens_as_a_straightforward_sampler(row in rows(), params in params(), first: u32) {
        let mut sampler = Sampler::new(params.clone(), &[]);
        for position in first as usize..first as usize + 8 {
            let want = straightforward(&params, &row, position);
            prop_assert_eq!(sampler.sample(&row, position), want, "position {}", position);
        }
    }
}

#[test]
fn bias_and_penalties_change_a_copy_of_the_row() {
    let params = SamplingParams {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        logit_bias: vec![(1, 3.0), (9, 1.0)],
        ..SamplingParams::greedy()
    };
    let logits = [4.0, 0.0, 1.9, -1.0];
    let mut sampler = Sampler::new(params, &[0]);
    // Token 0 counts 4 / 2 after the prompt and 1.25 once drawn, token 1 at first 3 and then 0.75.
    let drawn = [(); 4].map(|()| sampler.sample(&logits, 0));
    assert_eq!(drawn, [1, 0, 2, 0]);
    assert_eq!(logits, [4.0, 0.0, 1.9, -1.0]);
}

#[test]
fn what_the_temperature_makes_equal_is_ordered_by_id() {
    let params = SamplingParams {
        temperature: 0.138_710_57,
        top_p: 0.5,
        ..SamplingParams::greedy()
    };
    let row = [10.000_002, 10.000_003];
    for position in 0..20 {
        let token = Sampler::new(params.clone(), &[]).sample(&row, position);
        assert_eq!(
            token,
            straightforward(&params, &row, position),
            "{position}"
        );
    }
}
