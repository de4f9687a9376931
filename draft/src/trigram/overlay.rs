//! The adaptive overlay: what followed two tokens, or one, in the sequence itself.

use foretoken_model::Token;
use rustc_hash::FxHashMap;

use super::row::Row;
use super::suffix::Suffix;

/// What a visit leaves of the weight of earlier ones: the latest counts most, and a row's total stays below 3.
const DECAY: f32 = 0.65;

/// Rows of one sequence, 80 bytes each.
const MAX_ROWS: usize = 1 << 16;

/// Tokens that are learnt again when the rows are full.
const KEPT_TOKENS: usize = MAX_ROWS / 8;

/// One sequence's own successors, by suffix.
///
/// Only what is committed is learnt, prompt included. When its rows are full, all of them go and the last
/// [`KEPT_TOKENS`] are learnt again: a long text's beginning is forgotten, at a price that stays constant per token.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: FxHashMap<Suffix, Row>,
    num_learnt: usize,
}

impl Overlay {
    /// Learns what `tokens`, the whole sequence, has beyond what was learnt before. Fewer tokens than before are
    /// another text.
    pub(crate) fn learn(&mut self, tokens: &[Token]) {
        if tokens.len() < self.num_learnt {
            *self = Self::default();
        }
        for end in self.num_learnt..tokens.len() {
            if self.rows.len() + 2 > MAX_ROWS {
                self.rows.clear();
                for end in end.saturating_sub(KEPT_TOKENS)..end {
                    self.visit(&tokens[..end], tokens[end]);
                }
            }
            self.visit(&tokens[..end], tokens[end]);
        }
        self.num_learnt = tokens.len();
    }

    /// What followed `suffix`, with weights; nothing if it was never seen.
    pub(crate) fn successors(&self, suffix: Suffix) -> &[(Token, f32)] {
        self.rows.get(&suffix).map_or(&[], Row::successors)
    }

    fn visit(&mut self, before: &[Token], token: Token) {
        for suffix in Suffix::all(before).filter(|&suffix| suffix != Suffix::EMPTY) {
            self.rows.entry(suffix).or_default().visit(token, DECAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(tokens: &[Token]) -> Overlay {
        let mut overlay = Overlay::default();
        overlay.learn(tokens);
        overlay
    }

    #[test]
    fn the_latest_successor_weighs_most() {
        let overlay = overlay(&[1, 2, 3, 1, 2, 4, 1, 2, 3]);
        let after_pair = overlay.successors(Suffix::pair(1, 2));
        assert_eq!(after_pair, [(3, DECAY * DECAY + 1.0), (4, DECAY)]);
        assert_eq!(overlay.successors(Suffix::single(2)), after_pair);
        assert_eq!(overlay.successors(Suffix::pair(3, 1)), [(2, 1.0)]);
        assert_eq!(overlay.successors(Suffix::single(3)), [(1, 1.0)]);
        assert_eq!(overlay.successors(Suffix::pair(2, 9)), []);
        assert_eq!(overlay.successors(Suffix::EMPTY), []);
    }

    #[test]
    fn a_full_row_gives_up_its_lightest() {
        let tokens: Vec<Token> = (10..20).flat_map(|token| [1, token]).collect();
        let overlay = overlay(&tokens);
        let row = overlay.successors(Suffix::single(1));
        let mut kept: Vec<Token> = row.iter().map(|entry| entry.0).collect();
        kept.sort_unstable();
        assert_eq!(kept, (12..20).collect::<Vec<Token>>());
    }

    #[test]
    fn what_is_learnt_does_not_depend_on_the_steps() {
        let tokens: Vec<Token> = (0..200).map(|i| i * i % 7).collect();
        let at_once = overlay(&tokens);
        let mut by_steps = Overlay::default();
        for end in [1, 2, 3, 50, 50, 51, 200] {
            by_steps.learn(&tokens[..end]);
        }
        assert_eq!(by_steps.rows, at_once.rows);
        by_steps.learn(&tokens[..3]);
        assert_eq!(by_steps.rows, overlay(&tokens[..3]).rows, "another text");
    }

    #[test]
    fn a_full_overlay_keeps_the_latest_tokens() {
        let tokens: Vec<Token> = (0..MAX_ROWS as Token).collect();
        let overlay = overlay(&tokens);
        assert!(overlay.rows.len() <= MAX_ROWS);
        let latest = MAX_ROWS as Token - 1;
        for token in latest - KEPT_TOKENS as Token + 1..latest {
            assert_eq!(
                overlay.successors(Suffix::single(token)),
                [(token + 1, 1.0)]
            );
        }
        assert_eq!(overlay.successors(Suffix::single(1)), []);
    }

    #[test]
    fn a_million_tokens_take_no_more_room_than_there_is() {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        // Some repeats, so that rows fill and are visited again; mostly news.
        let tokens: Vec<Token> = (0..1_000_000)
            .map(|i| if i % 3 == 0 { next() % 100 } else { next() })
            .collect();
        let mut overlay = Overlay::default();
        let mut capacity = 0;
        for end in (0..=tokens.len()).step_by(1000) {
            overlay.learn(&tokens[..end]);
            assert!(
                overlay.rows.len() <= MAX_ROWS,
                "{} rows",
                overlay.rows.len()
            );
            capacity = capacity.max(overlay.rows.capacity());
        }
        assert!(capacity < 2 * MAX_ROWS, "room for {capacity} rows");
        let last = tokens[tokens.len() - 2];
        let latest = overlay.successors(Suffix::pair(tokens[tokens.len() - 3], last));
        assert!(latest.iter().any(|entry| Some(&entry.0) == tokens.last()));
    }
}
