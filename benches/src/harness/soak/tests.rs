//! The soak's judgement: each thing that must not happen, and nothing else, is a violation.

use super::tally::Tally;
use super::verdict::violations;
use super::visit::{Report, Visit};
use super::watch::{AtRest, held};
use super::*;
use crate::harness::record::Record;
use crate::harness::send::{Failure, FailureKind, Usage};

fn record(text: &str, outcome: Result<Usage, Failure>, took_ms: u64) -> Report {
    Report::Record(Box::new(Record {
        sent: Duration::from_millis(5),
        end: Duration::from_millis(5 + took_ms),
        text: text.to_owned(),
        outcome,
        ..Record::sample()
    }))
}

fn whole(text: &str) -> Report {
    record(text, Ok(Usage::default()), 1)
}

fn failed(kind: FailureKind, took_ms: u64) -> Report {
    record("", Err(Failure::new(kind, "said so")), took_ms)
}

/// The violations after `visits` to a server whose only case has the text `truth`.
fn judge(visits: Vec<(Visit, Report)>) -> Vec<String> {
    let mut tally = Tally::new(1).unwrap();
    tally.add(Visit::Stay(0), whole("truth"));
    visits
        .into_iter()
        .for_each(|(visit, report)| tally.add(visit, report));
    violations(&tally, &["truth".to_owned()], &[], &AtRest::default(), 50.0)
}

#[test]
fn what_may_happen() {
    let visits = vec![
        (Visit::Leave(0, 3), whole("tru")),
        (Visit::Leave(0, 0), whole("")),
        (Visit::Stay(0), failed(FailureKind::Refused, 49)),
        (Visit::Spoil(0, 1), Report::Status(Ok(400))),
        (Visit::Spoil(0, 1), Report::Status(Ok(429))),
    ];
    assert_eq!(judge(visits), [""; 0]);
}

#[test]
fn what_may_not() {
    for (visit, report, violation) in [
        (Visit::Stay(0), whole("trxth"), "from character 2"),
        (Visit::Stay(0), whole("tru"), "from character 3"),
        (Visit::Leave(0, 3), whole("tx"), "from character 1"),
        (
            Visit::Stay(0),
            failed(FailureKind::Refused, 60),
            "refusals took 60",
        ),
        (
            Visit::Stay(0),
            failed(FailureKind::Disconnected, 1),
            "disconnected: said so",
        ),
        (
            Visit::Leave(0, 3),
            failed(FailureKind::ServerError, 1),
            "server error",
        ),
        (
            Visit::Spoil(0, 1),
            Report::Status(Ok(500)),
            "answered with 500",
        ),
        (
            Visit::Spoil(0, 1),
            Report::Status(Ok(200)),
            "answered with 200",
        ),
        (
            Visit::Spoil(0, 1),
            Report::Status(Err("reset".to_owned())),
            "not answered: reset",
        ),
    ] {
        let found = judge(vec![(visit, report)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains(violation),
            "{found:?}, expected: {violation}"
        );
    }
}

#[test]
fn memory_must_be_flat_once_it_is_warm() {
    let mut tally = Tally::new(1).unwrap();
    tally.add(Visit::Stay(0), whole("truth"));
    let truth = ["truth".to_owned()];
    for (course, is_flat) in [
        (vec![], true),
        (
            vec![100.0, 500.0, 510.0, 505.0, 500.0, 510.0, 505.0, 510.0],
            true,
        ),
        (
            vec![100.0, 500.0, 500.0, 510.0, 520.0, 530.0, 540.0, 550.0],
            false,
        ),
        (vec![10.0, 10.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0], true),
    ] {
        let found = violations(&tally, &truth, &course, &AtRest::default(), 50.0);
        assert_eq!(found.is_empty(), is_flat, "{course:?}: {found:?}");
    }
}

#[test]
fn a_server_at_rest_holds_nothing() {
    let metrics = "# HELP foretoken_kv_cache_usage_perc how full\n\
                   foretoken_kv_cache_usage_perc 0\n\
                   foretoken_num_requests_running{model_name=\"demo\"} 2\n\
                   foretoken_num_requests_total 90\n";
    assert_eq!(
        held(metrics),
        ["foretoken_num_requests_running{model_name=\"demo\"} 2"]
    );
    let mut tally = Tally::new(0).unwrap();
    tally.num_completed = 1;
    let at_rest = AtRest {
        illness: Some("503".to_owned()),
        held: held(metrics),
    };
    assert_eq!(violations(&tally, &[], &[], &at_rest, 50.0).len(), 2);
}
