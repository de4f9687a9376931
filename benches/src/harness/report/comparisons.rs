//! The section on `ab`: a table on top, the curves below.

use anyhow::Result;

use super::acceptance;
use super::chart::{Axis, Chart, Point, Series};
use super::page::{charts, section};
use super::table::{DASH, escape, groups, table};
use crate::harness::ab::{Comparison, Interval};
use crate::harness::summary::Summary;

const CONCURRENCY: Axis = Axis {
    label: "requests at a time",
    doubles: true,
};

/// What `ab` measured.
pub(super) fn comparisons(comparisons: &[Comparison]) -> Result<String> {
    let Some(first) = comparisons.first() else {
        return Ok(String::new());
    };
    let heads = [
        "workload",
        "at a time",
        "A, tokens/s",
        "B, tokens/s",
        "throughput, B over A",
        "TTFT p50, ms",
        "B over A",
        "TPOT mean, ms",
        "B over A",
        "accepted",
        "texts that differ",
    ];
    let mut body = table(&heads, comparisons.iter().map(comparison_row));
    for comparison in comparisons {
        if let Some(difference) = &comparison.lossless.first {
            body += &format!(
                "<p class=\"bad\">{}, {} at a time: question {} with seed {} parts at character {}: \
                 A says <code>{}</code>, B says <code>{}</code></p>\n",
                escape(&comparison.workload),
                comparison.concurrency,
                escape(&difference.id),
                difference.seed,
                difference.at,
                escape(&difference.a),
                escape(&difference.b)
            );
        }
    }
    let by_workload = groups(comparisons, |comparison| comparison.workload.as_str());
    let mut curves = vec![
        ratios(
            "Throughput, B over A: above 1 is better",
            &by_workload,
            |comparison| comparison.throughput,
        ),
        ratios(
            "Time per output token, B over A: below 1 is better",
            &by_workload,
            |comparison| comparison.tpot,
        ),
    ];
    curves.extend(
        by_workload
            .iter()
            .map(|(workload, group)| throughputs(workload, group)),
    );
    body += &charts(curves)?;
    let summaries = comparisons
        .iter()
        .map(|comparison| (comparison.workload.as_str(), &comparison.summary_b));
    body += &acceptance::acceptance(summaries)?;
    let note = format!(
        "A: {}. B: {}. The same requests in blocks that take turns; ratios are medians over {} pairs of blocks, in \
         brackets their 95 % intervals.",
        first.a,
        first.b,
        first.pairs.len()
    );
    Ok(section("Two ways compared", &note, &body))
}

fn comparison_row(comparison: &Comparison) -> Vec<String> {
    let (a, b) = (&comparison.summary_a, &comparison.summary_b);
    let different = comparison.lossless.num_different;
    vec![
        escape(&comparison.workload),
        comparison.concurrency.to_string(),
        format!("{:.0}", a.output_throughput),
        format!("{:.0}", b.output_throughput),
        ratio(comparison.throughput, |ratio| ratio > 1.0),
        format!("{:.1} → {:.1}", a.ttft_ms.p50, b.ttft_ms.p50),
        ratio(comparison.ttft, |ratio| ratio < 1.0),
        format!("{:.2} → {:.2}", a.tpot_ms.mean, b.tpot_ms.mean),
        ratio(comparison.tpot, |ratio| ratio < 1.0),
        b.acceptance
            .total()
            .acceptance_rate()
            .map_or_else(|| DASH.to_owned(), |rate| format!("{:.1} %", rate * 100.0)),
        format!(
            "<span class=\"{}\">{different}</span> of {}",
            if different == 0 { "good" } else { "bad" },
            comparison.lossless.num_compared
        ),
    ]
}

/// A ratio, coloured if all of its interval is on one side of 1.
fn ratio(interval: Option<Interval>, is_good: fn(f64) -> bool) -> String {
    let Some(Interval { median, bounds }) = interval else {
        return DASH.to_owned();
    };
    let Some([low, high]) = bounds else {
        return format!("{median:.2}×");
    };
    let class = match (is_good(low), is_good(high)) {
        _ if low <= 1.0 && 1.0 <= high => "",
        (true, true) => "good",
        _ => "bad",
    };
    format!("<span class=\"{class}\">{median:.2}×</span> <small>[{low:.2}, {high:.2}]</small>")
}

fn ratios(
    title: &str,
    by_workload: &[(&str, Vec<&Comparison>)],
    figure: fn(&Comparison) -> Option<Interval>,
) -> Chart {
    let series = by_workload.iter().map(|(workload, group)| Series {
        name: (*workload).to_owned(),
        points: (group.iter())
            .filter_map(|comparison| {
                let Interval { median, bounds } = figure(comparison)?;
                Some(Point {
                    x: f64::from(comparison.concurrency),
                    y: median,
                    bounds,
                })
            })
            .collect(),
    });
    Chart {
        title: title.to_owned(),
        x: CONCURRENCY,
        y: "ratio",
        series: series.collect(),
        level: Some(1.0),
        marks: Vec::new(),
    }
}

fn throughputs(workload: &str, group: &[&Comparison]) -> Chart {
    let line = |name: &str, summary: fn(&Comparison) -> &Summary| Series {
        name: name.to_owned(),
        points: (group.iter())
            .map(|comparison| Point {
                x: f64::from(comparison.concurrency),
                y: summary(comparison).output_throughput,
                bounds: None,
            })
            .collect(),
    };
    Chart {
        title: format!("Throughput: {workload}"),
        x: CONCURRENCY,
        y: "output tokens per second",
        series: vec![
            line("A", |comparison| &comparison.summary_a),
            line("B", |comparison| &comparison.summary_b),
        ],
        level: None,
        marks: Vec::new(),
    }
}
