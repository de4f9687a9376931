//! What clients saw, summed up as it comes, so that hours fit in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;

use super::faults::FAULTS;
use super::visit::{Report, Visit};
use crate::harness::record::Record;
use crate::harness::send::FailureKind;
use crate::harness::summary::{Quantiles, Times};

/// Sums of a storm.
pub(super) struct Tally {
    pub(super) num_completed: u64,
    pub(super) num_cancelled: u64,
    pub(super) num_malformed: u64,
    refusals: Times,
    /// For each case, the texts that whole answers held.
    pub(super) whole: Vec<BTreeSet<String>>,
    /// For each case, what had come when the client hung up.
    pub(super) begun: Vec<BTreeSet<String>>,
    /// What should not have happened, with how often it did.
    pub(super) surprises: BTreeMap<String, usize>,
}

impl Tally {
    pub(super) fn new(num_cases: usize) -> Result<Self> {
        Ok(Self {
            num_completed: 0,
            num_cancelled: 0,
            num_malformed: 0,
            refusals: Times::new()?,
            whole: vec![BTreeSet::new(); num_cases],
            begun: vec![BTreeSet::new(); num_cases],
            surprises: BTreeMap::new(),
        })
    }

    pub(super) fn add(&mut self, visit: Visit, report: Report) {
        match (visit, report) {
            (Visit::Stay(case), Report::Record(record)) => {
                if self.is_answered(&record) {
                    self.num_completed += 1;
                    self.whole[case].insert(record.text);
                }
            }
            (Visit::Leave(case, _), Report::Record(record)) => {
                if self.is_answered(&record) {
                    self.num_cancelled += 1;
                    self.begun[case].insert(record.text);
                }
            }
            (Visit::Spoil(_, fault), Report::Status(status)) => self.add_fault(fault, status),
            (visit, _) => self.surprise(format!("{visit:?} was reported as something else")),
        }
    }

    /// True if the request was let in and served as far as its client cared.
    fn is_answered(&mut self, record: &Record) -> bool {
        match &record.outcome {
            Ok(_) => return true,
            Err(failure) if failure.kind == FailureKind::Refused => {
                self.add_refusal(record.end - record.sent);
            }
            Err(failure) => self.surprise(format!(
                "{failure} ({} chunks had come)",
                if record.chunks.is_empty() {
                    "no"
                } else {
                    "some"
                }
            )),
        }
        false
    }

    fn add_fault(&mut self, fault: usize, status: Result<u16, String>) {
        let name = FAULTS[fault].0;
        match status {
            // A full queue may turn nonsense away before it is read.
            Ok(400..=499) => self.num_malformed += 1,
            Ok(status) => self.surprise(format!("{name} was answered with {status}")),
            Err(error) => self.surprise(format!("{name} was not answered: {error}")),
        }
    }

    /// Counts a refusal that took `time`.
    pub(super) fn add_refusal(&mut self, time: Duration) {
        self.refusals.add(time, 1);
    }

    fn surprise(&mut self, what: String) {
        *self.surprises.entry(what).or_default() += 1;
    }

    pub(super) fn refusal_ms(&self) -> Quantiles {
        self.refusals.quantiles()
    }

    /// Different texts, whole and begun.
    pub(super) fn num_texts(&self) -> usize {
        self.whole
            .iter()
            .chain(&self.begun)
            .map(BTreeSet::len)
            .sum()
    }
}
