//! Limits that a good answer keeps, as vLLM's `--goodput` states them: `ttft:200 tpot:20 e2el:5000`.

use std::str::FromStr;
use std::time::Duration;

use crate::harness::record::Record;

/// A limit that a good answer keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What is limited.
    pub metric: Metric,
    /// How long it may take.
    pub at_most: Duration,
}

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// End-to-end latency.
    E2el,
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limit = || {
            let (metric, ms) = text.split_once(':')?;
            let metric = match metric {
                "ttft" => Metric::Ttft,
                "tpot" => Metric::Tpot,
                "e2el" => Metric::E2el,
                _ => return None,
            };
            let at_most = Duration::try_from_secs_f64(ms.parse::<f64>().ok()? / 1e3).ok()?;
            Some(Self { metric, at_most })
        };
        limit().ok_or_else(|| "expected ttft:MS, tpot:MS or e2el:MS".to_owned())
    }
}

impl Limit {
    /// True if an answer keeps it. One that is too short to have such a time does.
    pub(super) fn holds(&self, record: &Record) -> bool {
        let time = match self.metric {
            Metric::Ttft => record.time_to_first_token(),
            Metric::Tpot => record.time_per_output_token(),
            Metric::E2el => Some(record.end),
        };
        time.is_none_or(|time| time <= self.at_most)
    }
}
