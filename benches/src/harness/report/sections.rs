//! The sections of a page: a table on top, the curves below.

use anyhow::Result;

use super::acceptance;
use super::chart::{Axis, Chart, Point, Series};
use super::page::{charts, section};
use super::table::{escape, table};
use crate::harness::ab::{Comparison, Interval};
use crate::harness::load::LoadResult;
use crate::harness::soak::SoakResult;
use crate::harness::summary::{Quantiles, Summary};

const CONCURRENCY: Axis = Axis {
    label: "requests at a time",
    doubles: true,
};
const RATE: Axis = Axis {
    label: "requests per second",
    doubles: false,
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
    let by_workload = groups(comparisons, |comparison| &comparison.workload);
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
            .map_or_else(dash, |rate| format!("{:.1} %", rate * 100.0)),
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
        return dash();
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

fn dash() -> String {
    "–".to_owned()
}

/// Items by a name that they have, names in the order in which they first come.
fn groups<T>(items: &[T], name: fn(&T) -> &String) -> Vec<(&str, Vec<&T>)> {
    let mut groups: Vec<(&str, Vec<&T>)> = Vec::new();
    for item in items {
        let name = name(item).as_str();
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(item),
            None => groups.push((name, vec![item])),
        }
    }
    groups
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
    }
}

/// What `load` measured.
pub(super) fn loads(loads: &[LoadResult]) -> Result<String> {
    if loads.is_empty() {
        return Ok(String::new());
    }
    let heads = [
        "workload",
        "arrivals",
        "answered",
        "failed",
        "requests/s",
        "goodput/s",
        "tokens/s",
        "TTFT",
        "TPOT",
        "ITL",
        "between chunks",
        "end to end",
    ];
    let mut body = table(&heads, loads.iter().map(load_row));
    for (workload, group) in groups(loads, |load| &load.workload) {
        body += &charts(load_charts(workload, &group))?;
    }
    body += &acceptance::acceptance(
        loads
            .iter()
            .map(|load| (load.workload.as_str(), &load.summary)),
    )?;
    let mut servers: Vec<&str> = loads.iter().map(|load| load.server.as_str()).collect();
    servers.dedup();
    let note = format!(
        "Server: {}. Latencies count from the arrival that was scheduled, in ms: p50 / p90 / p99.",
        servers.join(", ")
    );
    Ok(section("Under load", &note, &body))
}

fn load_row(load: &LoadResult) -> Vec<String> {
    let summary = &load.summary;
    let mut failures: Vec<String> = summary
        .failures
        .iter()
        .map(|(kind, failures)| format!("{} {kind}", failures.count))
        .collect();
    if failures.is_empty() {
        failures.push("0".to_owned());
    }
    vec![
        escape(&load.workload),
        escape(&load.arrivals),
        format!("{} of {}", summary.num_completed, summary.num_requests),
        escape(&failures.join(", ")),
        format!("{:.2}", summary.request_throughput),
        summary
            .request_goodput
            .map_or_else(dash, |good| format!("{good:.2}")),
        format!("{:.0}", summary.output_throughput),
        quantiles(summary.ttft_ms),
        quantiles(summary.tpot_ms),
        quantiles(summary.itl_ms),
        quantiles(summary.inter_chunk_ms),
        quantiles(summary.e2el_ms),
    ]
}

fn quantiles(Quantiles { p50, p90, p99, .. }: Quantiles) -> String {
    let digits = if p99 >= 100.0 { 0 } else { 1 };
    format!("{p50:.digits$} / {p90:.digits$} / {p99:.digits$}")
}

/// Curves against the rate, if there was more than one.
fn load_charts(workload: &str, group: &[&LoadResult]) -> Vec<Chart> {
    let at_rates: Vec<(f64, &Summary)> = group
        .iter()
        .filter_map(|load| Some((load.request_rate?, &load.summary)))
        .collect();
    if at_rates.len() < 2 {
        return Vec::new();
    }
    let line = |name: &str, figure: &dyn Fn(&Summary) -> f64| Series {
        name: name.to_owned(),
        points: at_rates
            .iter()
            .map(|&(x, summary)| Point {
                x,
                y: figure(summary),
                bounds: None,
            })
            .collect(),
    };
    let latency = |title: &str, times: fn(&Summary) -> Quantiles| Chart {
        title: format!("{title}: {workload}"),
        x: RATE,
        y: "ms",
        series: vec![
            line("p50", &|summary| times(summary).p50),
            line("p90", &|summary| times(summary).p90),
            line("p99", &|summary| times(summary).p99),
        ],
        level: None,
    };
    vec![
        latency("Time to first token", |summary| summary.ttft_ms),
        latency("Time per output token", |summary| summary.tpot_ms),
        latency("End-to-end latency", |summary| summary.e2el_ms),
        Chart {
            title: format!("Throughput: {workload}"),
            x: RATE,
            y: "output tokens per second",
            series: vec![line("throughput", &|summary| summary.output_throughput)],
            level: None,
        },
    ]
}

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
    }
}

/// Where the figures come from: command, machine and time of each.
pub(super) fn origins<'a>(origins: impl Iterator<Item = [&'a str; 3]>) -> String {
    let rows = origins.map(|[command, machine, finished]| {
        vec![
            format!("<code>{}</code>", escape(command)),
            escape(machine),
            escape(finished),
        ]
    });
    let body = table(&["command", "machine", "finished"], rows);
    section(
        "Where this comes from",
        "Reports are put together and drawn again by `foretoken-bench report`.",
        &body,
    )
}
