//! The section on `replay`: for each workload and temperature a table, and curves over the budgets.

use anyhow::Result;

use super::chart::{Axis, Chart, Point, Series};
use super::page::{charts, section};
use super::table::{DASH, escape, groups, table};
use crate::harness::replay::ReplayResult;

/// What drafters brought on recorded answers.
pub(super) fn replays(replays: &[ReplayResult]) -> Result<String> {
    let mut body = String::new();
    let mut curves = Vec::new();
    for ((workload, temperature), group) in groups(replays, |replay| {
        (replay.workload.as_str(), replay.temperature)
    }) {
        let title = format!("{workload}, temperature {temperature}");
        body += &format!(
            "<h3>{}</h3>\n{}",
            escape(&title),
            table(&HEADS, group.iter().map(|replay| row(replay)))
        );
        curves.extend(over_budgets(title, &group));
    }
    body += &charts(curves)?;
    let note = "Recorded answers drafted again, without a model. A step is a verify of as many draft tokens as the \
                budget says, where the drafter has them.";
    Ok(section("Drafters on recorded answers", note, &body))
}

const HEADS: [&str; 7] = [
    "drafter",
    "draft tokens a step, at most",
    "answers",
    "tokens a step",
    "where answers do not loop",
    "acceptance length",
    "µs a draft",
];

fn row(replay: &ReplayResult) -> Vec<String> {
    let not_looping = match replay.not_looping.num_steps {
        0 => DASH.to_owned(),
        _ => format!("{:.2}", replay.not_looping.tokens_per_step()),
    };
    vec![
        escape(&replay.drafter),
        replay.budget.to_string(),
        replay.all.num_answers.to_string(),
        format!("{:.2}", replay.all.tokens_per_step()),
        not_looping,
        format!("{:.2}", replay.all.acceptance_length()),
        format!("{:.1}", replay.all.draft_us),
    ]
}

/// Tokens a step by drafter, if there was more than one budget.
fn over_budgets(title: String, group: &[&ReplayResult]) -> Option<Chart> {
    let (first, rest) = group.split_first()?;
    if rest.iter().all(|replay| replay.budget == first.budget) {
        return None;
    }
    let series = groups(group, |replay| replay.drafter.as_str());
    let series = series.into_iter().map(|(drafter, results)| Series {
        name: drafter.to_owned(),
        points: (results.iter())
            .map(|replay| Point {
                x: replay.budget as f64,
                y: replay.all.tokens_per_step(),
                bounds: None,
            })
            .collect(),
    });
    Some(Chart {
        title: format!("Tokens a step: {title}"),
        x: Axis {
            label: "draft tokens a step, at most",
            doubles: true,
        },
        y: "tokens a step",
        series: series.collect(),
        level: None,
        marks: Vec::new(),
    })
}
