//! Summaries of answers written by hand.

use super::*;
use crate::harness::record::Chunk;
use crate::harness::request::Request;
use crate::harness::send::{Drafted, Failure, FailureKind, Usage};

/// An answer of `num_tokens` whose first token came after `ttft` ms, and the others every `tpot` ms.
fn record(ttft: u64, tpot: u64, num_tokens: usize) -> Record {
    let at = |index: usize| Duration::from_millis(ttft + tpot * index as u64);
    let drafted = Drafted {
        num_drafts: 2,
        num_draft_tokens: 4,
        num_accepted_tokens: 3,
        accepted_per_pos: vec![2, 1],
    };
    let sample = Record::sample();
    Record {
        request: Request {
            category: format!("every {tpot} ms"),
            ..sample.request
        },
        chunks: (0..num_tokens)
            .map(|index| Chunk {
                at: at(index),
                num_tokens: Some(1),
            })
            .collect(),
        end: at(num_tokens - 1),
        outcome: Ok(Usage {
            num_prompt_tokens: 3,
            num_output_tokens: num_tokens,
            drafted: Some(drafted),
        }),
        ..sample
    }
}

fn failed(kind: FailureKind) -> Record {
    Record {
        outcome: Err(Failure::new(kind, "so it is")),
        ..record(1, 1, 1)
    }
}

fn close(measured: f64, expected: f64) {
    assert!(
        (measured / expected - 1.0).abs() < 2e-3,
        "{measured}, expected {expected}"
    );
}

#[test]
fn rates_count_what_was_answered() {
    let records = [
        record(10, 2, 5),
        record(30, 4, 11),
        failed(FailureKind::Refused),
        failed(FailureKind::Refused),
    ];
    let summary = Summary::new(&records, Duration::from_secs(2), &[]).unwrap();
    assert_eq!((summary.num_requests, summary.num_completed), (4, 2));
    assert_eq!(
        (summary.num_prompt_tokens, summary.num_output_tokens),
        (6, 16)
    );
    assert_eq!(
        (summary.request_throughput, summary.output_throughput),
        (1.0, 8.0)
    );
    assert_eq!(summary.request_goodput, None);
    assert_eq!(summary.failures["refused"].count, 2);
    assert_eq!(summary.failures["refused"].example, "so it is");
    close(summary.ttft_ms.mean, 20.0);
    close(summary.tpot_ms.p50, 2.0);
    close(summary.e2el_ms.max, 70.0);
    // 4 gaps of 2 ms and 10 of 4 ms.
    assert_eq!(summary.itl_ms.count, 14);
    close(summary.itl_ms.mean, 48.0 / 14.0);
    assert_eq!(summary.itl_ms, summary.inter_chunk_ms);
}

#[test]
fn quantiles_of_a_thousand() {
    let mut times = Times::new().unwrap();
    (1..=1000).for_each(|ms| times.add(Duration::from_millis(ms), 1));
    let quantiles = times.quantiles();
    for (measured, expected) in [
        (quantiles.mean, 500.5),
        (quantiles.p50, 500.0),
        (quantiles.p90, 900.0),
        (quantiles.p99, 990.0),
        (quantiles.max, 1000.0),
    ] {
        close(measured, expected);
    }
    assert_eq!(Times::new().unwrap().quantiles(), Quantiles::default());
}

#[test]
fn goodput_asks_for_every_limit() {
    let records = [
        record(10, 2, 5),
        record(30, 4, 11),
        failed(FailureKind::Timeout),
    ];
    for (limits, good) in [
        ("ttft:10", 1.0),
        ("ttft:9.9", 0.0),
        ("tpot:4", 2.0),
        ("tpot:4 e2el:69", 1.0),
        ("ttft:30 tpot:4 e2el:70", 2.0),
    ] {
        let parsed: Vec<Limit> = limits
            .split(' ')
            .map(|limit| limit.parse().unwrap())
            .collect();
        let summary = Summary::new(&records, Duration::from_secs(1), &parsed).unwrap();
        assert_eq!(summary.request_goodput, Some(good), "{limits}");
    }
    for bad in ["ttft", "itl:3", "ttft:-1", "tpot:x", "tpot:inf"] {
        assert!(bad.parse::<Limit>().is_err(), "{bad}");
    }
}

#[test]
fn acceptance_adds_up() {
    let records = [
        record(1, 2, 5),
        record(1, 2, 5),
        record(1, 4, 5),
        failed(FailureKind::Timeout),
    ];
    let summary = Summary::new(&records, Duration::from_secs(1), &[]).unwrap();
    let by_category = &summary.acceptance.by_category;
    assert_eq!(by_category["every 2 ms"].num_draft_tokens, 8);
    assert_eq!(by_category["every 4 ms"].num_draft_tokens, 4);
    let total = summary.acceptance.total();
    assert_eq!(total.acceptance_rate(), Some(0.75));
    assert_eq!(total.mean_acceptance_length(), Some(2.5));
    assert_eq!(total.rate_per_pos(), [1.0, 0.5]);
    assert_eq!(Drafted::default().acceptance_rate(), None);
}
