//! The median of paired ratios and where it could as well lie.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A median and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The interval of at least 95 %; none with fewer than 6 values.
    pub bounds: Option<[f64; 2]>,
}

impl Interval {
    /// The median of `values` with its order-statistic interval, which assumes nothing of how they are spread: the
    /// true median lies between the k-th smallest and the k-th largest unless fewer than k fall on one of its sides,
    /// and those are coin tosses. None without a finite value.
    pub fn of_median(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (low, high) = (*values.get(count.saturating_sub(1) / 2)?, values[count / 2]);
        let bounds = depth(count).map(|depth| [values[depth], values[count - 1 - depth]]);
        Some(Self {
            median: (low + high) / 2.0,
            bounds,
        })
    }
}

/// How many values may be cut off at each end: the most for which the two tails stay within 5 %.
fn depth(count: usize) -> Option<usize> {
    let mut chance = 0.5_f64.powi(i32::try_from(count).ok()?);
    let (mut tail, mut depth) = (0.0, None);
    for tosses in 0..count {
        tail += chance;
        if 2.0 * tail > 0.05 {
            break;
        }
        depth = Some(tosses);
        chance *= (count - tosses) as f64 / (tosses + 1) as f64;
    }
    depth
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}×", self.median)?;
        match self.bounds {
            Some([low, high]) => write!(f, " [{low:.2}, {high:.2}]"),
            None => Ok(()),
        }
    }
}
