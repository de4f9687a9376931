//! What drafting brought: by position as curves, by category as bars.

use std::collections::BTreeMap;

use anyhow::Result;

use super::chart::{Axis, Chart, Point, Series};
use super::page::charts;
use super::table::{bar, escape, table};
use crate::harness::summary::{Acceptance, Summary};

/// Positions that a chart shows: those behind are hardly ever reached.
const MAX_POSITIONS: usize = 16;

/// Acceptance of the runs of each workload together; nothing if no server told.
pub(super) fn acceptance<'a>(runs: impl Iterator<Item = (&'a str, &'a Summary)>) -> Result<String> {
    let mut by_workload: BTreeMap<&str, Acceptance> = BTreeMap::new();
    for (workload, summary) in runs {
        let sum = by_workload.entry(workload).or_default();
        for (category, drafted) in &summary.acceptance.by_category {
            sum.add(category, drafted);
        }
    }
    by_workload.retain(|_, acceptance| acceptance.total().num_draft_tokens > 0);
    if by_workload.is_empty() {
        return Ok(String::new());
    }
    let heads = [
        "workload",
        "category",
        "draft tokens",
        "accepted",
        "acceptance length",
    ];
    let rows = by_workload
        .iter()
        .flat_map(|(workload, acceptance)| rows(workload, acceptance));
    Ok(format!(
        "<h3>Acceptance</h3>\n{}{}",
        table(&heads, rows),
        charts([by_position(&by_workload)])?
    ))
}

fn rows<'a>(workload: &'a str, acceptance: &'a Acceptance) -> impl Iterator<Item = Vec<String>> {
    acceptance
        .by_category
        .iter()
        .map(move |(category, drafted)| {
            let length = drafted.mean_acceptance_length();
            vec![
                escape(workload),
                escape(category),
                drafted.num_draft_tokens.to_string(),
                bar(drafted.acceptance_rate().unwrap_or_default()),
                length.map_or("–".to_owned(), |length| format!("{length:.2}")),
            ]
        })
}

fn by_position(by_workload: &BTreeMap<&str, Acceptance>) -> Chart {
    let series = by_workload.iter().map(|(workload, acceptance)| {
        let rates = acceptance.total().rate_per_pos();
        let points = rates.iter().take(MAX_POSITIONS).enumerate();
        let points = points.map(|(index, rate)| Point {
            x: (index + 1) as f64,
            y: rate * 100.0,
            bounds: None,
        });
        Series {
            name: (*workload).to_owned(),
            points: points.collect(),
        }
    });
    Chart {
        title: "Verifies that kept the draft token at a position".to_owned(),
        x: Axis {
            label: "position in the draft",
            doubles: false,
        },
        y: "% of verifies",
        series: series.collect(),
        level: None,
        marks: Vec::new(),
    }
}
