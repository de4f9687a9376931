//! What is drawn follows the law: softmax(logits / T) after bias, penalties and filters, independently from position
//! to position and from seed to seed.

#![cfg(test)]

use foretoken_model::{Sampler, SamplingParams, Token};
use statrs::distribution::{ChiSquared, ContinuousCDF};

const LOGITS: [f32; 12] = [
    1.3, -0.4, 2.2, 0.0, 2.2, -1.7, 0.9, 1.8, -3.0, 0.3, 1.1, -0.9,
];

/// The chance of a statistic at least as far off, if counts were drawn from `law`; cells that cannot occur have to be
/// empty.
fn p_value(counts: &[usize], law: &[f64]) -> f64 {
    let total: usize = counts.iter().sum();
    let mut statistic = 0.0;
    let mut freedom = -1.0;
    for (&count, &chance) in counts.iter().zip(law) {
        if chance == 0.0 {
            assert_eq!(count, 0, "a token that the filters exclude was drawn");
            continue;
        }
        let expected = chance * total as f64;
        assert!(
            expected > 5.0,
            "too few draws for the test to mean anything"
        );
        statistic += (count as f64 - expected).powi(2) / expected;
        freedom += 1.0;
    }
    1.0 - ChiSquared::new(freedom).unwrap().cdf(statistic)
}

/// The law, computed in double precision straight from its definition.
fn law(params: &SamplingParams, history: &[Token]) -> Vec<f64> {
    let mut logits = LOGITS.map(f64::from);
    for &(token, bias) in &params.logit_bias {
        logits[token as usize] += f64::from(bias);
    }
    for (token, logit) in logits.iter_mut().enumerate() {
        let count = history
            .iter()
            .filter(|&&seen| seen as usize == token)
            .count();
        if count > 0 {
            let penalty = f64::from(params.repetition_penalty);
            *logit = if *logit > 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
            *logit -= f64::from(params.frequency_penalty) * count as f64
                + f64::from(params.presence_penalty);
        }
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let best = logits[order[0]];
    let weight = |token: usize| ((logits[token] - best) / f64::from(params.temperature)).exp();
    order.retain(|&token| weight(token) >= f64::from(params.min_p));
    if params.top_k > 0 {
        order.truncate(params.top_k as usize);
    }
    let total: f64 = order.iter().map(|&token| weight(token)).sum();
    let mut sum = 0.0;
    let reaches = |&token: &usize| {
        sum += weight(token) / total;
        sum >= f64::from(params.top_p)
    };
    let kept = order
        .iter()
        .position(reaches)
        .map_or(order.len(), |last| last + 1);
    order.truncate(kept);
    let total: f64 = order.iter().map(|&token| weight(token)).sum();
    let chance = |token| {
        if order.contains(&token) {
            weight(token) / total
        } else {
            0.0
        }
    };
    (0..logits.len()).map(chance).collect()
}

fn base(temperature: f32) -> SamplingParams {
    SamplingParams {
        temperature,
        ..SamplingParams::greedy()
    }
}

#[test]
fn tokens_follow_softmax_after_the_filters() {
    let cases = [
        base(1.0),
        base(0.7),
        base(1.6),
        SamplingParams {
            top_k: 4,
            ..base(1.0)
        },
        SamplingParams {
            top_p: 0.8,
            ..base(1.0)
        },
        SamplingParams {
            min_p: 0.2,
            ..base(1.3)
        },
        SamplingParams {
            top_k: 7,
            top_p: 0.9,
            min_p: 0.02,
            ..base(1.2)
        },
        SamplingParams {
            logit_bias: vec![(8, 4.0), (2, -100.0)],
            ..base(1.0)
        },
        SamplingParams {
            repetition_penalty: 1.5,
            presence_penalty: 0.4,
            frequency_penalty: 0.3,
            ..base(1.0)
        },
    ];
    for params in cases {
        let history: &[Token] = if params.presence_penalty > 0.0 {
            &[2, 2, 5, 7]
        } else {
            &[]
        };
        let law = law(&params, history);
        let mut counts = [0; LOGITS.len()];
        for draw in 0..40_000u64 {
            let params = SamplingParams {
                seed: draw % 200,
                ..params.clone()
            };
            let mut sampler = Sampler::new(params, &[]);
            // A sampler remembers what it drew: force the history by a bias, on positions of its own.
            for (place, &token) in history.iter().enumerate() {
                let mut forced = [f32::NEG_INFINITY; LOGITS.len()];
                forced[token as usize] = 0.0;
                assert_eq!(sampler.sample(&forced, place), token);
            }
            counts[sampler.sample(&LOGITS, (draw / 200) as usize + 1000) as usize] += 1;
        }
        let p = p_value(&counts, &law);
        assert!(p > 1e-4, "{params:?}: p = {p}");
    }
}

#[test]
fn neighbours_in_position_and_seed_are_independent() {
    let params = SamplingParams {
        top_k: 6,
        ..base(1.0)
    };
    let law = law(&params, &[]);
    let draw = |seed, position| {
        Sampler::new(
            SamplingParams {
                seed,
                ..params.clone()
            },
            &[],
        )
        .sample(&LOGITS, position) as usize
    };
    let joint: Vec<f64> = law
        .iter()
        .flat_map(|a| law.iter().map(move |b| a * b))
        .collect();
    for (seed_step, position_step) in [(0, 1), (1, 0), (1, 1)] {
        let mut counts = vec![0; joint.len()];
        for pair in 0..40_000u64 {
            let (seed, position) = (2 * (pair % 200), 2 * (pair / 200) as usize);
            let (a, b) = (
                draw(seed, position),
                draw(seed + seed_step, position + position_step),
            );
            counts[a * LOGITS.len() + b] += 1;
        }
        let p = p_value(&counts, &joint);
        assert!(
            p > 1e-4,
            "steps of {seed_step} in seed and {position_step} in position: p = {p}"
        );
    }
}

#[test]
fn temperature_zero_takes_the_best_and_of_equals_the_lowest() {
    let mut sampler = Sampler::new(
        SamplingParams {
            seed: 9,
            ..base(0.0)
        },
        &[],
    );
    assert_eq!(sampler.sample(&LOGITS, 0), 2, "tokens 2 and 4 tie");
    let mut sampler = Sampler::new(
        SamplingParams {
            top_k: 1,
            ..base(5.0)
        },
        &[],
    );
    assert_eq!(sampler.sample(&LOGITS, 0), 2, "exactly one token is kept");
}

#[test]
fn broken_logits_draw_some_token_and_do_not_panic() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for params in [
            base(0.0),
            base(1.0),
            SamplingParams {
                top_k: 3,
                top_p: 0.5,
                min_p: 0.1,
                ..base(1.0)
            },
        ] {
            let mut logits = LOGITS;
            logits[3] = value;
            assert!((Sampler::new(params.clone(), &[]).sample(&logits, 5) as usize) < LOGITS.len());
            assert!((Sampler::new(params, &[]).sample(&[value; 12], 5) as usize) < LOGITS.len());
        }
    }
}
