//! Results for the terminal.

use crate::harness::load::LoadResult;
use crate::harness::soak::SoakResult;
use crate::harness::summary::Quantiles;

/// A run in a block of lines.
pub(super) fn load(result: &LoadResult) -> String {
    let summary = &result.summary;
    let mut text = format!(
        "{}, {}: {} of {} requests answered in {:.1} s\n",
        result.workload,
        result.arrivals,
        summary.num_completed,
        summary.num_requests,
        summary.duration_s
    );
    text += &format!(
        "  {:.2} requests/s, {:.1} output tokens/s{}\n",
        summary.request_throughput,
        summary.output_throughput,
        summary
            .request_goodput
            .map(|good| format!(", goodput {good:.2} requests/s"))
            .unwrap_or_default(),
    );
    for (name, times) in [
        ("time to first token", summary.ttft_ms),
        ("time per output token", summary.tpot_ms),
        ("inter-token latency", summary.itl_ms),
        ("inter-chunk latency", summary.inter_chunk_ms),
        ("end to end", summary.e2el_ms),
    ] {
        text += &quantiles(name, times);
    }
    for (kind, failures) in &summary.failures {
        text += &format!(
            "  {}× {kind}, such as: {}\n",
            failures.count, failures.example
        );
    }
    if let Some(rate) = summary.acceptance.total().acceptance_rate() {
        text += &format!("  {:.1} % of draft tokens accepted\n", rate * 100.0);
    }
    text
}

fn quantiles(name: &str, times: Quantiles) -> String {
    let Quantiles {
        mean,
        p50,
        p90,
        p99,
        ..
    } = times;
    format!("  {name:<22} mean {mean:>9.2}  p50 {p50:>9.2}  p90 {p90:>9.2}  p99 {p99:>9.2} ms\n")
}

/// A soak in a block of lines.
pub(super) fn soak(result: &SoakResult) -> String {
    let mut text = format!(
        "soaked for {} minutes at {:.1} requests/s, {:.1} times what it can do\n  \
         {} answered, {} hung up on, {} refused (p99 {:.1} ms), {} malformed, {} texts compared\n",
        result.minutes,
        result.request_rate,
        result.request_rate / result.capacity,
        result.num_completed,
        result.num_cancelled,
        result.refusal_ms.count,
        result.refusal_ms.p99,
        result.num_malformed,
        result.num_texts,
    );
    for violation in &result.violations {
        text += &format!("  VIOLATION: {violation}\n");
    }
    text
}
