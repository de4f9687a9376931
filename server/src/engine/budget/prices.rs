//! What a step costs by its rows and their contexts: measured at start, refined while running.

use std::time::Duration;

/// A forward's shape, as far as its price depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Rows of all sequences.
    pub num_rows: usize,
    /// Keys that the rows see, summed over the rows.
    pub num_row_keys: usize,
    /// Keys that the sequences have, summed over the sequences: what is read however many rows look at it.
    pub num_keys: usize,
}

/// Seconds of a forward: a curve over its rows, straight between its points, and so much for each key.
///
/// What committed rows take and what draft rows add are refined apart. The first is mostly reading, the second mostly
/// arithmetic, and what shares the machine slows the one or the other.
#[derive(Clone, Debug)]
pub struct Prices {
    points: Vec<Point>,
    per_row_key: f64,
    per_key: f64,
    /// What committed rows have taken of late, against what these prices say.
    slowness: f64,
    /// What drafts have taken of late beyond what these prices say, in seconds: for there being any, which pushes
    /// weights out of a processor's cache, and for each.
    surcharges: [f64; 2],
    /// What a forward has taken of late beyond its price where one of the steps before it had drafts, in seconds.
    aftermath: f64,
    is_refined: bool,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    num_rows: f64,
    seconds: f64,
}

impl Prices {
    /// Rows cost nothing: whatever is drafted is verified.
    pub fn free() -> Self {
        Self::new(&[(1, 1.0)], 0.0, 0.0)
    }

    /// A guess to start from where nothing was measured; only its shape matters, the scale comes with the first step.
    /// Rows are as dear as in a small model whose weights lie in the processor's cache: an answer may be over before
    /// what they really cost is known, and drafts must not have slowed it down.
    pub fn prior() -> Self {
        let curve = [(1, 1e-3), (64, 1e-3 + 63.0 * 0.25e-3)];
        Self {
            is_refined: false,
            ..Self::new(&curve, 0.0, 0.0)
        }
    }

    /// Prices out of measurements: forwards and the time they took, first of rising numbers of rows over a short
    /// context, then of some of these over a long one.
    pub fn measured(short: &[(Load, Duration)], long: &[(Load, Duration)]) -> Self {
        if short.is_empty() {
            return Self::prior();
        }
        // Two sizes over both contexts tell what a key costs each row, and what it costs once for all.
        let extra = |&(load, time): &(Load, Duration)| {
            let same_rows = |(other, _): &&(Load, Duration)| other.num_rows == load.num_rows;
            let (before, base) = short.iter().find(same_rows)?;
            let seconds = time.as_secs_f64() - base.as_secs_f64();
            Some((
                load.num_rows as f64,
                seconds / (load.num_keys - before.num_keys).max(1) as f64,
            ))
        };
        let extras: Vec<(f64, f64)> = long.iter().filter_map(extra).collect();
        let (per_row_key, per_key) = match extras[..] {
            [(few, a), .., (many, b)] if many > few => {
                let per_row_key = ((b - a) / (many - few)).max(0.0);
                (per_row_key, (a - few * per_row_key).max(0.0))
            }
            [(rows, a)] => ((a / rows).max(0.0), 0.0),
            _ => (0.0, 0.0),
        };
        let curve: Vec<(usize, f64)> = short
            .iter()
            .map(|(load, time)| {
                let keys = load.num_row_keys as f64 * per_row_key + load.num_keys as f64 * per_key;
                (load.num_rows, (time.as_secs_f64() - keys).max(1e-9))
            })
            .collect();
        Self::new(&curve, per_row_key, per_key)
    }

    /// Prices by a curve of (rows, seconds), rising in rows, and seconds for each key by row and by sequence. What
    /// cannot be, more rows for less time, is evened out.
    pub fn new(curve: &[(usize, f64)], per_row_key: f64, per_key: f64) -> Self {
        let mut least = 0.0_f64;
        let points = curve.iter().map(|&(num_rows, seconds)| {
            least = least.max(seconds);
            Point {
                num_rows: num_rows as f64,
                seconds: least,
            }
        });
        Self {
            points: points.collect(),
            per_row_key,
            per_key,
            slowness: 1.0,
            surcharges: [0.0; 2],
            aftermath: 0.0,
            is_refined: true,
        }
    }

    /// False as long as they are a guess.
    pub(crate) fn are_refined(&self) -> bool {
        self.is_refined
    }

    /// Seconds that such a forward takes, without drafts.
    pub fn price(&self, load: Load) -> f64 {
        self.slowness * self.expected(load)
    }

    /// Seconds that one more draft row of so many keys adds to a forward of `num_rows`.
    pub(crate) fn next_row(&self, num_rows: usize, num_keys: usize) -> f64 {
        let more = self.rows(num_rows + 1) - self.rows(num_rows);
        let usual = self.slowness * (more + num_keys as f64 * self.per_row_key);
        // A row that seems to be free was lucky.
        (usual + self.surcharges[1]).max(0.5 * usual)
    }

    /// Seconds that drafts add to a forward, however few they are.
    pub(crate) fn any_draft(&self) -> f64 {
        self.surcharges[0].max(0.0)
    }

    /// Seconds that drafts cost each of the next few forwards.
    pub(crate) fn aftermath(&self) -> f64 {
        self.aftermath.max(0.0)
    }

    /// Takes in how long a forward without drafts took soon after one with some.
    pub(crate) fn refine_aftermath(&mut self, load: Load, took: Duration) {
        let price = self.price(load);
        let more = (took.as_secs_f64() - price).clamp(-price, price);
        self.aftermath += (more - self.aftermath) / 16.0;
    }

    fn expected(&self, load: Load) -> f64 {
        self.rows(load.num_rows)
            + load.num_row_keys as f64 * self.per_row_key
            + load.num_keys as f64 * self.per_key
    }

    fn rows(&self, num_rows: usize) -> f64 {
        let (before, after, share) = self.between(num_rows);
        let [low, high] = [before, after].map(|index| self.points[index].seconds);
        low + (high - low) * share
    }

    /// The points around a number of rows, and how far it lies from the first to the second; beyond the last point
    /// the curve goes on as straight as it came.
    fn between(&self, num_rows: usize) -> (usize, usize, f64) {
        let num_rows = num_rows as f64;
        let Some(last) = self.points.len().checked_sub(1).filter(|&last| last > 0) else {
            return (0, 0, 0.0);
        };
        let after = (self.points.iter())
            .position(|point| point.num_rows >= num_rows)
            .unwrap_or(last)
            .max(1);
        let (a, b) = (self.points[after - 1], self.points[after]);
        let share = (num_rows - a.num_rows) / (b.num_rows - a.num_rows);
        (after - 1, after, share.max(0.0))
    }

    /// Takes in how long a forward without drafts took, well after the last with some.
    ///
    /// It alone tells how slow the machine is: forwards with drafts cannot say what is theirs and what the machine's.
    pub(crate) fn refine_plain(&mut self, load: Load, took: Duration) {
        let Some(relative) = self.relative(load, took) else {
            return;
        };
        if !self.is_refined {
            self.is_refined = true;
            self.slowness = relative;
        }
        self.slowness += PACE * surprise(relative, self.slowness, self.slowness);
    }

    /// Takes in how long a forward took that had these committed rows, and with its drafts all these.
    ///
    /// A step of the normalised least mean squares (Widrow and Hoff, 1960): what surprises of a forward with many drafts
    /// is mostly the surcharge of each. Surcharges wear off again, so that rows that were too dear once are tried again.
    pub(crate) fn refine_drafts(&mut self, committed: Load, all: Load, took: Duration) {
        let Some(relative) = self.relative(all, took) else {
            return;
        };
        // In parts of the whole, so that small and large forwards teach alike; surcharges in forwards of one row.
        let whole = self.expected(all).max(1e-12);
        let num_drafts = (all.num_rows - committed.num_rows) as f64;
        let unit = self.rows(1);
        let weights = [num_drafts.min(1.0), num_drafts].map(|number| number * unit / whole);
        let added: f64 = (weights.iter().zip(self.surcharges))
            .map(|(weight, surcharge)| weight * surcharge / unit)
            .sum();
        let norm: f64 = weights.iter().map(|weight| weight * weight).sum();
        let expected = self.slowness + added;
        let step = PACE * surprise(relative, expected, self.slowness) / (1.0 + norm);
        for (surcharge, weight) in self.surcharges.iter_mut().zip(weights) {
            *surcharge = (*surcharge + step * weight * unit) * (1.0 - WEAR);
        }
    }

    /// A forward's time in times of what is expected; nothing, where nothing is known of such forwards.
    fn relative(&self, load: Load, took: Duration) -> Option<f64> {
        let relative = || took.as_secs_f64() / self.expected(load).max(1e-12);
        self.know(load).then(relative)
    }

    /// True if the curve reaches so far. Long prompts lie beyond it.
    pub(crate) fn know(&self, load: Load) -> bool {
        let last = self.points.last().filter(|_| self.points.len() > 1);
        last.is_some_and(|last| load.num_rows as f64 <= last.num_rows)
    }
}

/// By how much a forward's time differs from what it should be. One that was interrupted says no more than one that was
/// a little late, or the next steps would be decided on by what is over.
///
/// Surcharges that were learnt where the curve is too steep may promise less than no time elsewhere. No forward is
/// believed to take less than half the `usual` time.
fn surprise(relative: f64, expected: f64, usual: f64) -> f64 {
    let believed = expected.max(0.5 * usual);
    relative.clamp(0.75 * believed, 1.33 * believed) - expected
}

/// How much of a surprise is believed.
const PACE: f64 = 0.15;

/// How much of the surcharges wears off with each step.
const WEAR: f64 = 0.003;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(num_rows: usize, context: usize) -> Load {
        Load {
            num_rows,
            num_row_keys: num_rows * context,
            num_keys: context,
        }
    }

    #[test]
    fn prices_lie_on_straight_lines_and_never_fall() {
        let prices = Prices::new(&[(1, 0.010), (3, 0.008), (5, 0.030)], 0.0, 0.0);
        let cases = [
            (1, 0.010),
            (2, 0.010),
            (3, 0.010),
            (4, 0.020),
            (5, 0.030),
            (7, 0.050),
        ];
        for (rows, want) in cases {
            let price = prices.price(load(rows, 0));
            assert!((price - want).abs() < 1e-9, "{rows}: {price}");
        }
        assert_eq!(Prices::free().next_row(9, 100), 0.0);
    }

    #[test]
    fn measurements_tell_rows_and_keys_apart() {
        let truth = Prices::new(
            &[(1, 0.010), (8, 0.012), (16, 0.020), (64, 0.070)],
            2e-7,
            3e-6,
        );
        let time = |load: Load| (load, Duration::from_secs_f64(truth.price(load)));
        let short: Vec<_> = [1, 8, 16, 64].map(|rows| time(load(rows, 32))).to_vec();
        let found = Prices::measured(&short, &[time(load(1, 1024)), time(load(16, 1024))]);
        for (rows, context) in [(1, 0), (5, 100), (16, 4000), (64, 32), (100, 2000)] {
            let (want, got) = (
                truth.price(load(rows, context)),
                found.price(load(rows, context)),
            );
            assert!(
                (got / want - 1.0).abs() < 1e-3,
                "{rows} {context}: {got} not {want}"
            );
        }
        assert!(Prices::measured(&[], &[]).price(load(2, 2)) > 0.0);
    }

    #[test]
    fn what_committed_rows_take_and_what_drafts_add_are_learnt_apart() {
        let guess = Prices::new(&[(1, 0.010), (16, 0.020), (64, 0.040)], 1e-7, 1e-6);
        let committed = load(1, 100);
        for (plain, surcharge) in [(1.0, 0.0), (3.0, 0.0), (1.0, 0.001), (1.5, -0.0003)] {
            let mut prices = guess.clone();
            let truth = |rows: usize| {
                let added = guess.price(load(rows, 100)) - guess.price(committed);
                plain * (guess.price(committed) + added) + surcharge * (rows - 1) as f64
            };
            for step in 0..200 {
                let num_rows = [1, 16, 6, 16][step % 4];
                let all = load(num_rows, 100);
                let took = Duration::from_secs_f64(truth(num_rows));
                match num_rows {
                    1 => prices.refine_plain(committed, took),
                    _ => prices.refine_drafts(committed, all, took),
                }
            }
            let found = prices.price(committed) / truth(1);
            assert!((found - 1.0).abs() < 0.1, "{plain} {surcharge}: {found}");
            let row = prices.next_row(3, 100) / (plain * guess.next_row(3, 100) + surcharge);
            assert!((row - 1.0).abs() < 0.2, "{plain} {surcharge}: {row}");
        }
    }

    #[test]
    fn rows_that_were_measured_too_dear_do_not_make_others_cost_less_than_nothing() {
        let mut prices = Prices::new(&[(1, 0.001), (16, 0.0015), (64, 0.064)], 0.0, 0.0);
        for _ in 0..200 {
            prices.refine_drafts(load(1, 0), load(64, 0), Duration::from_millis(10));
        }
        for _ in 0..500 {
            prices.refine_drafts(load(1, 0), load(16, 0), Duration::from_micros(1500));
        }
        let row = prices.next_row(8, 0);
        assert!((0.01e-3..0.1e-3).contains(&row), "{row}");
        prices.refine_plain(load(1, 0), Duration::from_millis(1));
        assert!((prices.price(load(1, 0)) - 0.001).abs() < 1e-6);
    }

    #[test]
    fn draft_rows_that_were_too_dear_are_tried_again() {
        let mut prices = Prices::new(&[(1, 0.010), (16, 0.020)], 0.0, 0.0);
        let row = prices.next_row(1, 0);
        for _ in 0..50 {
            prices.refine_plain(load(1, 0), Duration::from_millis(10));
            prices.refine_drafts(load(1, 0), load(16, 0), Duration::from_millis(35));
        }
        assert!(prices.next_row(1, 0) > 2.0 * row);
        for _ in 0..2000 {
            prices.refine_plain(load(1, 0), Duration::from_millis(10));
            prices.refine_drafts(load(1, 0), load(16, 0), Duration::from_millis(20));
        }
        assert!(prices.next_row(1, 0) < 1.1 * row);
    }
}
