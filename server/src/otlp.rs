//! Spans on their way to a collector, by OTLP over gRPC.

use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Whose spans these are.
const SERVICE: &str = "foretoken";

/// Where all of our spans come from; those of libraries are not exported.
const TARGET: &str = env!("CARGO_CRATE_NAME");

/// How long the end may wait for the collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends spans in batches, from a thread of its own.
#[derive(Debug)]
pub(crate) struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    /// Sends to `endpoint`, whether or not anybody is there yet; by TLS if it begins with `https://`, to whom the system's
    /// certificates vouch for. To be called within a runtime, which it needs until it is flushed.
    pub(crate) fn new(endpoint: &str) -> Result<Self> {
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
        if endpoint.starts_with("https://") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = exporter
            .build()
            .with_context(|| format!("cannot send traces to {endpoint}"))?;
        let resource = Resource::builder().with_service_name(SERVICE).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self { provider })
    }

    /// Takes spans in: requests, whatever is logged, and steps if those are logged.
    pub(crate) fn layer<S>(&self, log: &Targets) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let logs_steps =
            log.would_enable(concat!(env!("CARGO_CRATE_NAME"), "::engine"), &Level::TRACE);
        let level = if logs_steps {
            Level::TRACE
        } else {
            Level::INFO
        };
        tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_tracer(self.provider.tracer(SERVICE))
            .with_filter(Targets::new().with_target(TARGET, level))
    }

    /// Sends what is still here.
    pub(crate) fn flush(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}
