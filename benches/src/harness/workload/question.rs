//! What a workload is made of.

use std::time::Duration;

/// One prompt, and what its source says of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) category: String,
    pub(super) prompt: String,
    /// A trace's, which says when and how much.
    pub(super) traced: Option<Traced>,
}

/// A line of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Traced {
    /// Since the first line.
    pub(super) arrival: Duration,
    pub(super) output_len: u32,
}
