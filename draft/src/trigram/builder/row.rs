//! Rows out of counts, and what is left out of them.

use std::cmp::Reverse;
use std::io;
use std::iter::Peekable;

use foretoken_model::Token;

use super::count::Count;
use crate::trigram::suffix::Suffix;

/// Successors of one token, or of none, that are kept: many, since where noise is shared the unlikely ones win often.
/// On the carried model at T = 1, 64 instead of 12 had 0.08 tokens more accepted per step of 8 nodes, 0.15 of 32.
const MAX_OTHER_SUCCESSORS: usize = 64;

/// Counts above are told apart no more when a table is cut to a size.
const MAX_LEAST: usize = 1 << 16;

/// What is left out of a table to keep it small. Leaving out what the shorter suffix says nearly as well (Seymore and
/// Rosenfeld, "Scalable backoff language models", 1996) was tried and did no better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pruning {
    /// How often a successor of two tokens must have been seen.
    pub min_pair_count: u32,
    /// How often a successor of one token, or of none, must have been seen.
    pub min_other_count: u32,
    /// Successors of two tokens that are kept, at most.
    pub max_pair_successors: usize,
    /// Bytes of the file, at most: the least counts are raised until it fits, that of other rows half as fast, since
    /// each of them speaks where many pairs are silent.
    pub max_size: u64,
}

impl Pruning {
    /// Nothing is left out but what stands behind a row's best. ADED's twelve: more were tried and won nothing.
    pub const NONE: Self = Self {
        min_pair_count: 1,
        min_other_count: 1,
        max_pair_successors: 12,
        max_size: u64::MAX,
    };

    /// The row as it is kept, if anything is left of it.
    pub(super) fn keep(&self, mut row: Row) -> Option<Row> {
        let (most, least) = match row.suffix.is_pair() {
            true => (self.max_pair_successors, self.min_pair_count),
            false => (MAX_OTHER_SUCCESSORS, self.min_other_count),
        };
        row.counts.truncate(most);
        row.counts.retain(|&(_, count)| count >= least);
        (!row.counts.is_empty()).then_some(row)
    }

    /// The same with counts of at least so many.
    fn at_least(self, least: u32) -> Self {
        Self {
            min_pair_count: self.min_pair_count.max(least),
            min_other_count: self.min_other_count.max(least.div_ceil(2)),
            ..self
        }
    }
}

/// What followed one suffix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) suffix: Suffix,
    /// All of its counts, those left out too.
    pub(super) total: u64,
    /// The chance of a count of 1: Witten and Bell leave as much for what was never seen as was once seen for the
    /// first time.
    pub(super) unit: f32,
    /// Most frequent first, of equals the lower id.
    pub(super) counts: Vec<(Token, u32)>,
}

/// All rows of counts that are in order.
pub(super) struct Rows<I: Iterator> {
    counts: Peekable<I>,
}

impl<I: Iterator<Item = io::Result<Count>>> Rows<I> {
    pub(super) fn new(counts: I) -> Self {
        let counts = counts.peekable();
        Self { counts }
    }
}

impl<I: Iterator<Item = io::Result<Count>>> Iterator for Rows<I> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.counts.next()? {
            Ok(count) => count,
            Err(error) => return Some(Err(error)),
        };
        let suffix = first.suffix();
        let mut counts = vec![(first.token(), first.count())];
        let in_row =
            |count: &io::Result<Count>| !matches!(count, Ok(count) if count.suffix() != suffix);
        while let Some(count) = self.counts.next_if(in_row) {
            match count {
                Ok(count) => counts.push((count.token(), count.count())),
                Err(error) => return Some(Err(error)),
            }
        }
        counts.sort_unstable_by_key(|&(token, count)| (Reverse(count), token));
        let total = counts.iter().map(|&(_, count)| u64::from(count)).sum();
        Some(Ok(Row {
            suffix,
            total,
            unit: 1.0 / (total as f32 + counts.len() as f32),
            counts,
        }))
    }
}

/// How much a table would hold, by the least count.
pub(super) struct Survey {
    pairs: Tally,
    others: Tally,
    num_counted: u64,
}

impl Survey {
    /// Tri-grams of the corpus, pruned ones too.
    pub(super) fn num_counted(&self) -> u64 {
        self.num_counted
    }

    /// Looks at all rows, pruned by `pruning` but for the size.
    pub(super) fn of(
        rows: impl Iterator<Item = io::Result<Row>>,
        pruning: &Pruning,
    ) -> io::Result<Self> {
        let tally = || Tally {
            rows: vec![0; MAX_LEAST + 1],
            successors: vec![0; MAX_LEAST + 1],
        };
        let mut survey = Self {
            pairs: tally(),
            others: tally(),
            num_counted: 0,
        };
        for row in rows {
            let row = row?;
            let is_pair = row.suffix.is_pair();
            survey.num_counted += if is_pair { row.total } else { 0 };
            let tally = match is_pair {
                true => &mut survey.pairs,
                false => &mut survey.others,
            };
            if let Some(row) = pruning.keep(row) {
                tally.add(&row);
            }
        }
        survey.pairs.accumulate();
        survey.others.accumulate();
        Ok(survey)
    }

    /// The least pruning whose rows and successors are as `fits` wants them, with these; else what the most leaves.
    pub(super) fn prune(
        &self,
        pruning: Pruning,
        fits: impl Fn(u64, u64) -> bool,
    ) -> Result<(Pruning, u64, u64), (u64, u64)> {
        let size = |pruning: &Pruning| {
            let (pair_rows, pairs) = self.pairs.at_least(pruning.min_pair_count);
            let (other_rows, others) = self.others.at_least(pruning.min_other_count);
            (pair_rows + other_rows, pairs + others)
        };
        let all = (1..=MAX_LEAST as u32).map(|least| pruning.at_least(least));
        let mut sizes = all.map(|pruning| (pruning, size(&pruning)));
        let found = sizes.find(|&(_, (rows, successors))| fits(rows, successors));
        match found {
            Some((pruning, (rows, successors))) => Ok((pruning, rows, successors)),
            None => Err(size(&pruning.at_least(MAX_LEAST as u32))),
        }
    }
}

/// Rows and successors by their count, a row by its best successor's; then with at least that count.
struct Tally {
    rows: Vec<u64>,
    successors: Vec<u64>,
}

impl Tally {
    fn add(&mut self, row: &Row) {
        let place = |count: u32| (count as usize).min(MAX_LEAST);
        self.rows[place(row.counts[0].1)] += 1;
        for &(_, count) in &row.counts {
            self.successors[place(count)] += 1;
        }
    }

    fn accumulate(&mut self) {
        for counts in [&mut self.rows, &mut self.successors] {
            let mut sum = 0;
            for count in counts.iter_mut().rev() {
                sum += *count;
                *count = sum;
            }
        }
    }

    fn at_least(&self, count: u32) -> (u64, u64) {
        let place = (count as usize).min(MAX_LEAST);
        (self.rows[place], self.successors[place])
    }
}
