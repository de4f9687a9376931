//! The section on `soak`.

use anyhow::Result;

use super::chart::{Axis, Chart, Point, Series};
use super::page::{charts, section};
use super::table::{escape, table};
use crate::harness::soak::SoakResult;

/// What `soak` found.
pub(super) fn soaks(soaks: &[SoakResult]) -> Result<String> {
    let heads = [
        "server",
        "minutes",
        "can do",
        "arrived",
        "answered",
        "hung up on",
        "malformed",
        "refused",
        "refusal p99, ms",
        "texts",
        "violations",
    ];
    let mut body = String::new();
    if !soaks.is_empty() {
        body += &table(&heads, soaks.iter().map(soak_row));
    }
    for violation in soaks.iter().flat_map(|soak| &soak.violations) {
        body += &format!("<p class=\"bad\">{}</p>\n", escape(violation));
    }
    body += &charts(soaks.iter().map(memory))?;
    let note = "More requests than the server can answer, some of whose clients hang up or send nonsense. All that \
                was let in must be answered, as an idle server answers it.";
    Ok(section("Soak", note, &body))
}

fn soak_row(soak: &SoakResult) -> Vec<String> {
    vec![
        escape(&soak.server),
        soak.minutes.to_string(),
        format!("{:.1}/s", soak.capacity),
        format!("{:.1}/s", soak.request_rate),
        soak.num_completed.to_string(),
        soak.num_cancelled.to_string(),
        soak.num_malformed.to_string(),
        soak.refusal_ms.count.to_string(),
        format!("{:.1}", soak.refusal_ms.p99),
        soak.num_texts.to_string(),
        format!(
            "<span class=\"{}\">{}</span>",
            if soak.violations.is_empty() {
                "good"
            } else {
                "bad"
            },
            soak.violations.len()
        ),
    ]
}

fn memory(soak: &SoakResult) -> Chart {
    let step = soak.minutes / soak.resident_mb.len().max(1) as f64;
    let points = soak
        .resident_mb
        .iter()
        .enumerate()
        .map(|(index, &y)| Point {
            x: index as f64 * step,
            y,
            bounds: None,
        });
    Chart {
        title: "Memory of the server's process".to_owned(),
        x: Axis {
            label: "minutes",
            doubles: false,
        },
        y: "MB",
        series: vec![Series {
            name: "resident".to_owned(),
            points: points.collect(),
        }],
        level: None,
        marks: Vec::new(),
    }
}
