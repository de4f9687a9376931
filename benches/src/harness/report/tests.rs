//! The page of a made-up report: it loads nothing, escapes what it quotes, and comes back from its JSON.

use std::time::Duration;

use super::*;
use crate::harness::ab::{Figures, Interval, Lossless, Pair};
use crate::harness::policy::Window;
use crate::harness::replay::{Played, Transcript};
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

fn replay(budget: usize) -> ReplayResult {
    let transcript = Transcript {
        workload: "recorded".to_owned(),
        category: String::new(),
        id: String::new(),
        temperature: 0.5,
        top_p: 1.0,
        seed: 0,
        prompt: vec![1],
        tokens: (0..12).collect(),
        top: Vec::new(),
    };
    let played = Played {
        num_steps: 5,
        num_drafts: 4,
        num_accepted_tokens: 7,
        num_asked: 4,
        draft: Duration::from_micros(26),
        ..Played::default()
    };
    let mut result = ReplayResult::new("lookup", budget, &transcript);
    result.add(&transcript, &played);
    result
}

fn policy() -> PolicyResult {
    let window = |policy| Window { policy, best: 4.0 };
    PolicyResult {
        machine: "tiles".to_owned(),
        num_seqs: 8,
        steps_per_window: 25,
        flips: vec![25],
        windows: vec![window(3.0), window(3.5)],
    }
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
        replays: [8, 32].map(replay).to_vec(),
        policies: vec![policy()],
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
        "recorded, temperature 0.5",
        "<td>2.40</td><td>2.40</td><td>2.75</td><td>6.5</td>",
        "Tokens a step: recorded",
        "<td>3.25×</td><td>3.00×</td><td>4.00×</td><td>81.2 %</td><td>75.0 %</td>",
        "Goodput: tiles, 8 at a time",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["<script", "<link", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(Report::default().html().is_ok());
}

#[test]
fn each_result_is_a_line_on_the_terminal() {
    let text = report().text();
    for line in [
        "recorded, T 0.5: lookup of 8 draft tokens: 2.40 tokens a step",
        "tiles, 8 at a time, 1 flips: 3.25 times plain decoding (3.00 in the worst 25 steps), 81.2 % of",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
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
    assert_eq!(twice.replays, [8, 32, 8, 32].map(replay));
    assert_eq!(twice.policies, [policy(), policy()]);
    std::fs::write(folder.path().join("bad.json"), "{}").unwrap();
    assert!(Report::read(&[folder.path().join("bad.json")]).is_err());
}
