//! The page of a made-up report: it loads nothing, escapes what it quotes, and comes back from its JSON.

use std::time::Duration;

use super::*;
use crate::harness::ab::{Figures, Interval, Lossless, Pair};
use crate::harness::send::Drafted;
use crate::harness::summary::Summary;

fn summary(throughput: f64) -> Summary {
    let mut summary = Summary::new([], Duration::from_secs(1), &[]).unwrap();
    summary.output_throughput = throughput;
    let drafted = Drafted {
        num_drafts: 10,
        num_draft_tokens: 40,
        num_accepted_tokens: 15,
        accepted_per_pos: vec![9, 6],
    };
    summary.acceptance.add("<b>", &drafted);
    summary
}

fn report() -> Report {
    let load = |rate| LoadResult {
        server: "http://a".to_owned(),
        workload: "dialogue".to_owned(),
        arrivals: format!("{rate} per second"),
        request_rate: Some(rate),
        max_concurrency: None,
        summary: summary(rate),
    };
    let figures = Figures {
        output_throughput: 100.0,
        ttft_ms: 3.0,
        tpot_ms: 1.0,
    };
    let comparison = |concurrency| Comparison {
        workload: "a & b".to_owned(),
        concurrency,
        a: "A".to_owned(),
        b: "B".to_owned(),
        requests_per_block: 2,
        pairs: vec![Pair {
            a: figures,
            b: figures,
        }],
        throughput: Some(Interval {
            median: 1.5,
            bounds: Some([1.25, 1.75]),
        }),
        ttft: Some(Interval {
            median: 1.0,
            bounds: None,
        }),
        tpot: None,
        lossless: Lossless::default(),
        summary_a: summary(100.0),
        summary_b: summary(150.0),
    };
    Report {
        origins: vec![Origin::here()],
        loads: vec![load(1.0), load(2.0)],
        comparisons: [1, 2, 4].map(comparison).to_vec(),
        replays: Vec::new(),
        soaks: Vec::new(),
    }
}

#[test]
fn the_page_is_complete_in_itself() {
    let page = report().html().unwrap();
    for part in [
        "a &amp; b",
        "&lt;b&gt;",
        "<svg",
        "1.50×</span> <small>[1.25, 1.75]</small>",
        "37.5 %",
        "requests at a time",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["<script", "<link", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(Report::default().html().is_ok());
}

#[test]
fn reports_come_back_from_their_json_and_add_up() {
    let folder = tempfile::tempdir().unwrap();
    report().write(folder.path()).unwrap();
    let file = folder.path().join("report.json");
    let twice = Report::read(&[file.clone(), file]).unwrap();
    assert_eq!(
        (
            twice.loads.len(),
            twice.comparisons.len(),
            twice.origins.len()
        ),
        (4, 6, 2)
    );
    assert_eq!(
        serde_json::to_value(&twice.comparisons[4]).unwrap(),
        serde_json::to_value(&report().comparisons[1]).unwrap()
    );
    std::fs::write(folder.path().join("bad.json"), "{}").unwrap();
    assert!(Report::read(&[folder.path().join("bad.json")]).is_err());
}
