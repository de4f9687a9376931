//! Whether the same request got the same text both ways.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::harness::record::Record;

/// Texts compared. Requests that failed either way are not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lossless {
    /// Requests that were answered both ways.
    pub num_compared: usize,
    /// Those whose texts differ.
    pub num_different: usize,
    /// The first of them.
    pub first: Option<Difference>,
}

/// Two texts that should be one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The question's id in its workload.
    pub id: String,
    /// The request's seed.
    pub seed: u64,
    /// Characters before the texts part.
    pub at: usize,
    /// What A says from there.
    pub a: String,
    /// What B says from there.
    pub b: String,
}

/// Characters of a text that a difference shows.
const EXCERPT: usize = 40;

impl Lossless {
    /// Compares the texts of pairs of answers to the same request.
    pub fn check<'a>(pairs: impl IntoIterator<Item = (&'a Record, &'a Record)>) -> Self {
        let mut check = Self::default();
        for (a, b) in pairs {
            if a.outcome.is_err() || b.outcome.is_err() {
                continue;
            }
            check.num_compared += 1;
            if a.text != b.text {
                check.num_different += 1;
                check.first.get_or_insert_with(|| Difference::between(a, b));
            }
        }
        check
    }
}

impl Difference {
    fn between(a: &Record, b: &Record) -> Self {
        let same = a
            .text
            .chars()
            .zip(b.text.chars())
            .take_while(|(a, b)| a == b);
        let at = same.count();
        let excerpt = |record: &Record| record.text.chars().skip(at).take(EXCERPT).collect();
        Self {
            id: a.request.id.clone(),
            seed: a.request.seed,
            at,
            a: excerpt(a),
            b: excerpt(b),
        }
    }
}

impl fmt::Display for Lossless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} texts differ",
            self.num_different, self.num_compared
        )?;
        match &self.first {
            Some(first) => write!(
                f,
                ", first question {} with seed {} at character {}: {:?} and {:?}",
                first.id, first.seed, first.at, first.a, first.b
            ),
            None => Ok(()),
        }
    }
}
