//! Arrivals by their means, their spread, and their seed.

use super::*;

const COUNT: usize = 20_000;

fn times(from: f64, to: f64, burstiness: f64, seed: u64) -> Vec<f64> {
    let arrivals = Arrivals::Rate {
        from,
        to,
        burstiness,
    };
    let times = arrivals.times(COUNT, seed).unwrap().unwrap();
    times.iter().map(Duration::as_secs_f64).collect()
}

/// Mean of the gaps, and their spread over it.
fn gaps(times: &[f64]) -> (f64, f64) {
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    (mean, variance.sqrt() / mean)
}

#[test]
fn gaps_have_the_mean_and_the_spread_that_were_asked_for() {
    // A gamma distribution of shape k spreads by 1 / sqrt(k).
    for (rate, burstiness, spread) in [
        (1.0, 1.0, 1.0),
        (50.0, 0.25, 2.0),
        (8.0, 4.0, 0.5),
        (8.0, f64::INFINITY, 0.0),
    ] {
        let (mean, measured) = gaps(&times(rate, rate, burstiness, 1));
        assert!(
            (mean * rate - 1.0).abs() < 0.05,
            "rate {rate}: a mean gap of {mean}"
        );
        assert!(
            (measured - spread).abs() < 0.05,
            "burstiness {burstiness}: {measured}"
        );
    }
}

#[test]
fn a_ramp_ends_faster_than_it_began() {
    let times = times(10.0, 30.0, 1.0, 1);
    let rate = |range: std::ops::Range<usize>| 1.0 / gaps(&times[range]).0;
    assert!((rate(0..2000) - 11.0).abs() < 1.0, "{}", rate(0..2000));
    assert!((rate(COUNT - 2000..COUNT) - 29.0).abs() < 2.0);
}

#[test]
fn the_seed_decides() {
    assert_eq!(times(5.0, 5.0, 1.0, 1), times(5.0, 5.0, 1.0, 1));
    assert_ne!(times(5.0, 5.0, 1.0, 1), times(5.0, 5.0, 1.0, 2));
}

#[test]
fn a_burstiness_that_is_none_is_refused() {
    for burstiness in [0.0, -1.0, f64::NAN] {
        let arrivals = Arrivals::Rate {
            from: 1.0,
            to: 1.0,
            burstiness,
        };
        assert!(arrivals.times(1, 0).is_err(), "{burstiness}");
    }
}
