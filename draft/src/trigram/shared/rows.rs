//! The rows of a shared overlay, in bounded memory.

use foretoken_model::Token;
use rustc_hash::FxHashMap;

use super::super::row::Row;
use super::super::suffix::Suffix;

/// What a visit leaves of the weight of earlier ones: slower than within a sequence, whose own past tells more of it.
const DECAY: f32 = 0.9;

/// Bytes of a row in a hash table, with its byte of control.
const ROW: usize = size_of::<(Suffix, Row)>() + 1;

/// What followed two tokens, or one, in all that was learnt: the latest rows.
///
/// There are two generations. A row that is visited is copied to the younger, which hides the older's; when the younger
/// is full it becomes the older, and what only the older had, not visited for as long, goes. Both have their room from
/// the start, and nothing is ever removed from one, which would use room up: memory never grows.
#[derive(Debug)]
pub(crate) struct SharedRows {
    younger: FxHashMap<Suffix, Row>,
    older: FxHashMap<Suffix, Row>,
    /// Of a generation.
    max_rows: usize,
}

impl SharedRows {
    /// Room for as many rows as `max_bytes` hold.
    pub(super) fn new(max_bytes: usize) -> Self {
        // Hash tables grow by doubling, and an eighth of them stays free.
        let places = (max_bytes / 2 / ROW)
            .checked_ilog2()
            .map_or(0, |log| 1 << log);
        let max_rows = places / 8 * 7;
        let generation = || FxHashMap::with_capacity_and_hasher(max_rows, Default::default());
        Self {
            younger: generation(),
            older: generation(),
            max_rows,
        }
    }

    /// Learns what is said behind the first `num_prompt_tokens`.
    pub(super) fn learn(&mut self, tokens: &[Token], num_prompt_tokens: usize) {
        for end in num_prompt_tokens..tokens.len() {
            for suffix in Suffix::all(&tokens[..end]).filter(|&suffix| suffix != Suffix::EMPTY) {
                let mut row = self.row(suffix).copied().unwrap_or_default();
                row.visit(tokens[end], DECAY);
                self.put(suffix, row);
            }
        }
    }

    /// What followed `suffix`, with weights; nothing if that is not known.
    pub(crate) fn successors(&self, suffix: Suffix) -> &[(Token, f32)] {
        self.row(suffix).map_or(&[], Row::successors)
    }

    /// Puts a row in, as the latest.
    pub(super) fn put(&mut self, suffix: Suffix, row: Row) {
        // To insert makes room first, even for a key that is there.
        if let Some(known) = self.younger.get_mut(&suffix) {
            *known = row;
            return;
        }
        if self.younger.len() >= self.max_rows {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
        }
        if self.max_rows > 0 {
            self.younger.insert(suffix, row);
        }
    }

    /// All rows, those that would be forgotten first in front.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Suffix, &[(Token, f32)])> {
        let older = self.older.iter();
        let older = older.filter(|(suffix, _)| !self.younger.contains_key(suffix));
        older
            .chain(&self.younger)
            .map(|(&suffix, row)| (suffix, row.successors()))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    fn row(&self, suffix: Suffix) -> Option<&Row> {
        let younger = self.younger.get(&suffix);
        younger.or_else(|| self.older.get(&suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_learnt_and_prompts_are_not() {
        let mut rows = SharedRows::new(1 << 16);
        rows.learn(&[1, 2, 3, 4], 2);
        rows.learn(&[1, 2, 5], 2);
        assert_eq!(rows.successors(Suffix::pair(1, 2)), [(3, DECAY), (5, 1.0)]);
        assert_eq!(rows.successors(Suffix::single(3)), [(4, 1.0)]);
        assert_eq!(rows.successors(Suffix::single(1)), []);
        assert_eq!((rows.successors(Suffix::EMPTY), rows.len()), (&[][..], 4));
    }

    #[test]
    fn a_million_tokens_take_no_more_room_than_there_is() {
        for max_bytes in [0, 1000, 1 << 20] {
            let mut rows = SharedRows::new(max_bytes);
            let capacity = [rows.younger.capacity(), rows.older.capacity()];
            for start in (0..1_000_000).step_by(500) {
                // What is often said is remembered, whatever else comes.
                let tokens: Vec<Token> = [7, 8, 9].into_iter().chain(start..start + 500).collect();
                rows.learn(&tokens, 1);
                assert!(rows.len() <= 2 * rows.max_rows && rows.len() * ROW <= max_bytes);
            }
            assert_eq!([rows.younger.capacity(), rows.older.capacity()], capacity);
            let often = rows.successors(Suffix::pair(7, 8));
            assert_eq!(
                often.len(),
                usize::from(max_bytes == 1 << 20),
                "{max_bytes} bytes"
            );
            let places = capacity
                .map(|capacity| capacity / 7 * 8)
                .iter()
                .sum::<usize>();
            assert!(
                places * ROW <= max_bytes.max(2 * 4 * ROW),
                "{places} places in {max_bytes} bytes"
            );
        }
    }
}
