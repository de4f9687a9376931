//! The section on `policy`.

use anyhow::Result;

use super::chart::{Axis, Chart, Point, Series};
use super::page::{charts, section};
use super::table::{escape, table};
use crate::harness::policy::{PolicyResult, Window};

/// How the policy followed its text.
pub(super) fn policies(policies: &[PolicyResult]) -> Result<String> {
    if policies.is_empty() {
        return Ok(String::new());
    }
    let heads = [
        "machine",
        "at a time",
        "policy, mean",
        "policy, worst window",
        "best fixed budget, mean",
        "policy over best, mean",
        "policy over best, worst window",
    ];
    let mut body = table(&heads, policies.iter().map(row));
    body += &charts(policies.iter().map(goodput))?;
    let note = "Known costs, known acceptance, no model: a text flips between copies and noise (dashed), of which the \
                drafter claims the same. Goodput of plain decoding is 1; the best fixed budget is chosen in \
                hindsight for each part of the text by itself.";
    Ok(section("The budget on a simulated clock", note, &body))
}

fn row(result: &PolicyResult) -> Vec<String> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    vec![
        escape(&result.machine),
        result.num_seqs.to_string(),
        format!("{:.2}×", result.mean(|window| window.policy)),
        format!("{:.2}×", result.worst(|window| window.policy)),
        format!("{:.2}×", result.mean(|window| window.best)),
        percent(result.mean(Window::of_best)),
        percent(result.worst(Window::of_best)),
    ]
}

fn goodput(result: &PolicyResult) -> Chart {
    let line = |name: &str, figure: fn(&Window) -> f64| Series {
        name: name.to_owned(),
        points: (result.windows.iter().enumerate())
            .map(|(index, window)| Point {
                x: (index as f64 + 0.5) * result.steps_per_window as f64,
                y: figure(window),
                bounds: None,
            })
            .collect(),
    };
    Chart {
        title: format!("Goodput: {}, {} at a time", result.machine, result.num_seqs),
        x: Axis {
            label: "steps",
            doubles: false,
        },
        y: "times plain decoding",
        series: vec![
            line("policy", |window| window.policy),
            line("best fixed budget", |window| window.best),
        ],
        level: Some(1.0),
        marks: result.flips.iter().map(|&flip| flip as f64).collect(),
    }
}
