//! The adaptive overlay: what followed two tokens, or one, in the sequence itself.

use foretoken_model::Token;
use rustc_hash::FxHashMap;

use super::suffix::Suffix;

/// What a visit leaves of the weight of earlier ones: the latest counts most, and a row's total stays below 3.
const DECAY: f32 = 0.65;

/// Successors in a row; the lightest gives way.
const MAX_SUCCESSORS: usize = 8;

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

/// Successors with their weights, in the order in which they were first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    successors: [(Token, f32); MAX_SUCCESSORS],
    len: usize,
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
        self.rows
            .get(&suffix)
            .map_or(&[], |row| &row.successors[..row.len])
    }

    fn visit(&mut self, before: &[Token], token: Token) {
        for suffix in Suffix::all(before).filter(|&suffix| suffix != Suffix::EMPTY) {
            self.rows.entry(suffix).or_default().visit(token);
        }
    }
}

impl Row {
    fn visit(&mut self, token: Token) {
        let seen = &mut self.successors[..self.len];
        for (_, weight) in seen.iter_mut() {
            *weight *= DECAY;
        }
        if let Some((_, weight)) = seen.iter_mut().find(|entry| entry.0 == token) {
            *weight += 1.0;
        } else if self.len < MAX_SUCCESSORS {
            self.successors[self.len] = (token, 1.0);
            self.len += 1;
        } else if let Some(lightest) = seen.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1)) {
            *lightest = (token, 1.0);
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
}
