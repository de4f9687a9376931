//! The latest tokens: what a text is about comes again.

use foretoken_model::Token;

/// Tokens that count as latest. Of 64 the older half won nothing.
const WINDOW: usize = 32;

/// Bits of the set, two cache lines.
const BITS: usize = 1024;

/// A set of the latest tokens, which takes one in thirty others for one of them.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    bits: [u64; BITS / 64],
}

impl Recent {
    /// The latest of a text.
    pub(crate) fn of(tokens: &[Token]) -> Self {
        let mut recent = Self::default();
        for &token in tokens.iter().rev().take(WINDOW) {
            let (word, bit) = Self::place(token);
            recent.bits[word] |= bit;
        }
        recent
    }

    /// True for the latest, and for a few others.
    pub(crate) fn holds(&self, token: Token) -> bool {
        let (word, bit) = Self::place(token);
        self.bits[word] & bit != 0
    }

    fn place(token: Token) -> (usize, u64) {
        let place = token as usize % BITS;
        (place / 64, 1 << (place % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_held_and_the_older_are_not() {
        let tokens: Vec<Token> = (0..100).map(|i| i * 7).collect();
        let recent = Recent::of(&tokens);
        for (place, &token) in tokens.iter().enumerate() {
            assert_eq!(recent.holds(token), place >= 100 - WINDOW, "{place}");
        }
        assert!(!Recent::default().holds(7));
    }
}
