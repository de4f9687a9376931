//! The section on `load`: tables on top, the curves below.

use anyhow::Result;

use super::acceptance;
use super::chart::{Axis, Chart, Point, Series};
use super::page::{charts, section};
use super::table::{DASH, escape, groups, table};
use crate::harness::load::LoadResult;
use crate::harness::summary::{Quantiles, Summary};

const RATE: Axis = Axis {
    label: "requests per second",
    doubles: false,
};

/// What `load` measured.
pub(super) fn loads(loads: &[LoadResult]) -> Result<String> {
    if loads.is_empty() {
        return Ok(String::new());
    }
    let rates = [
        "workload",
        "arrivals",
        "answered",
        "failed",
        "requests/s",
        "goodput, requests/s",
        "tokens/s",
    ];
    let latencies = [
        "workload",
        "arrivals",
        "TTFT",
        "TPOT",
        "ITL",
        "between chunks",
        "end to end",
    ];
    let mut body = table(&rates, loads.iter().map(rate_row));
    body += "<h3>Latencies, ms: p50 / p90 / p99</h3>\n";
    body += &table(&latencies, loads.iter().map(latency_row));
    for (workload, group) in groups(loads, |load| load.workload.as_str()) {
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
        "Server: {}. Latencies count from the arrival that was scheduled.",
        servers.join(", ")
    );
    Ok(section("Under load", &note, &body))
}

fn rate_row(load: &LoadResult) -> Vec<String> {
    let summary = &load.summary;
    let failures = summary.failures.iter();
    let failures: Vec<String> = failures
        .map(|(kind, failures)| format!("{} {kind}", failures.count))
        .collect();
    let failed = if failures.is_empty() {
        "0".to_owned()
    } else {
        failures.join(", ")
    };
    vec![
        escape(&load.workload),
        escape(&load.arrivals),
        format!("{} of {}", summary.num_completed, summary.num_requests),
        escape(&failed),
        format!("{:.2}", summary.request_throughput),
        summary
            .request_goodput
            .map_or_else(|| DASH.to_owned(), |good| format!("{good:.2}")),
        format!("{:.0}", summary.output_throughput),
    ]
}

fn latency_row(load: &LoadResult) -> Vec<String> {
    let summary = &load.summary;
    let latencies = [
        summary.ttft_ms,
        summary.tpot_ms,
        summary.itl_ms,
        summary.inter_chunk_ms,
        summary.e2el_ms,
    ];
    let names = [escape(&load.workload), escape(&load.arrivals)];
    names.into_iter().chain(latencies.map(quantiles)).collect()
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
        marks: Vec::new(),
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
            marks: Vec::new(),
        },
    ]
}
