//! Where metrics are taken from: once each, before they are counted.

use std::fmt;
use std::sync::Arc;

use metrics::{
    Counter, Gauge, Histogram, NoopRecorder, Recorder, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram, with_local_recorder,
};

use super::names::Metric;

/// Labels of one metric.
pub(crate) type Labels<'a> = &'a [(&'static str, String)];

/// Gives out handles. What the default one's count is seen by nobody.
#[derive(Clone)]
pub struct Registry(Arc<dyn Recorder + Send + Sync>);

impl Registry {
    pub(super) fn new(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self(Arc::new(recorder))
    }

    pub(crate) fn counter(&self, Metric(name, help): Metric, labels: Labels<'_>) -> Counter {
        with_local_recorder(&*self.0, || {
            describe_counter!(name, help);
            counter!(name, labels)
        })
    }

    pub(crate) fn gauge(&self, Metric(name, help): Metric, labels: Labels<'_>) -> Gauge {
        with_local_recorder(&*self.0, || {
            describe_gauge!(name, help);
            gauge!(name, labels)
        })
    }

    pub(crate) fn histogram(&self, Metric(name, help): Metric, labels: Labels<'_>) -> Histogram {
        with_local_recorder(&*self.0, || {
            describe_histogram!(name, help);
            histogram!(name, labels)
        })
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(NoopRecorder)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
