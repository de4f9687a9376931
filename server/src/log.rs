//! What the program says of itself: lines on standard error, and spans to a collector.

use std::io::IsTerminal;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;
use crate::otlp::Exporter;

/// Logs what passes `filter` from now on, text coloured if somebody looks, and exports spans if there is an exporter.
pub(crate) fn init(filter: &Targets, format: LogFormat, exporter: Option<&Exporter>) {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.clone()))
        .with(exporter.map(|exporter| exporter.layer(filter)))
        .init();
}
