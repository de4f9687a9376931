//! Medians, their intervals, the order of blocks, and texts that differ.

use super::cell::order;
use super::*;
use crate::harness::record::Record;
use crate::harness::request::Request;
use crate::harness::send::{Failure, FailureKind, Usage};

#[test]
fn the_median_and_its_order_statistics() {
    let up_to = |count: u32| (1..=count).map(f64::from);
    for (values, median, bounds) in [
        (up_to(1), 1.0, None),
        (up_to(5), 3.0, None),
        // Cut off at each end: 0 of 6, 1 of 10, 5 of 20 (tables of the sign test at 5 %).
        (up_to(6), 3.5, Some([1.0, 6.0])),
        (up_to(10), 5.5, Some([2.0, 9.0])),
        (up_to(20), 10.5, Some([6.0, 15.0])),
    ] {
        assert_eq!(
            Interval::of_median(values),
            Some(Interval { median, bounds })
        );
    }
    assert_eq!(Interval::of_median([]), None);
    assert_eq!(Interval::of_median([f64::NAN, f64::INFINITY]), None);
}

#[test]
fn the_interval_covers_the_median_of_noise() {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    let trials = 2000;
    let covered = (0..trials).filter(|_| {
        // Skewed, with a median of 1.
        let values = (0..10).map(|_| (rng.random::<f64>() - 0.5).exp().powi(4));
        let [low, high] = Interval::of_median(values)
            .and_then(|interval| interval.bounds)
            .unwrap();
        low <= 1.0 && 1.0 <= high
    });
    let share = covered.count() as f64 / f64::from(trials);
    // Exactly 97.85 % for 10 values.
    assert!((share - 0.9785).abs() < 0.01, "{share}");
}

#[test]
fn blocks_take_turns() {
    let orders: Vec<[usize; 2]> = (0..4).map(order).collect();
    assert_eq!(orders, [[0, 1], [1, 0], [0, 1], [1, 0]]);
}

fn answer(id: &str, text: &str, is_whole: bool) -> Record {
    let sample = Record::sample();
    let failure = Failure::new(FailureKind::Timeout, "late");
    Record {
        request: Request {
            id: id.to_owned(),
            seed: 3,
            ..sample.request
        },
        text: text.to_owned(),
        outcome: if is_whole {
            Ok(Usage::default())
        } else {
            Err(failure)
        },
        ..sample
    }
}

#[test]
fn texts_that_differ_are_counted_and_the_first_is_shown() {
    let a = [
        answer("1", "same", true),
        answer("2", "mañana", true),
        answer("3", "x", true),
        answer("4", "y", true),
    ];
    let b = [
        answer("1", "same", true),
        answer("2", "mañaxx", true),
        answer("3", "z", true),
        answer("4", "?", false),
    ];
    let check = Lossless::check(a.iter().zip(&b));
    let first = Difference {
        id: "2".to_owned(),
        seed: 3,
        at: 4,
        a: "na".to_owned(),
        b: "xx".to_owned(),
    };
    assert_eq!(
        check,
        Lossless {
            num_compared: 3,
            num_different: 2,
            first: Some(first)
        }
    );
    assert!(
        check
            .to_string()
            .starts_with("2 of 3 texts differ, first question 2 with seed 3 at character 4")
    );
}
