//! What a guess goes by: the last tokens of a text.

use foretoken_model::Token;

/// The last two tokens of a text, the last one, or none: the key of a row, in table and overlay.
///
/// In order, all pairs stand before all single tokens, and the empty suffix stands last.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Suffix(u64);

impl Suffix {
    /// No token at all.
    pub(crate) const EMPTY: Self = Self::pair(Self::NONE, Self::NONE);

    /// Stands where a token would. No vocabulary reaches it.
    const NONE: Token = Token::MAX;

    /// Two tokens.
    pub(crate) const fn pair(a: Token, b: Token) -> Self {
        Self((a as u64) << 32 | b as u64)
    }

    /// One token.
    pub(crate) const fn single(b: Token) -> Self {
        Self::pair(Self::NONE, b)
    }

    /// The suffixes of a text, longest first.
    pub(crate) fn all(text: &[Token]) -> impl Iterator<Item = Self> {
        let pair = match *text {
            [.., a, b] => Some(Self::pair(a, b)),
            _ => None,
        };
        let single = text.last().map(|&b| Self::single(b));
        pair.into_iter().chain(single).chain([Self::EMPTY])
    }

    /// True for two tokens.
    pub(crate) fn is_pair(self) -> bool {
        self < Self::single(0)
    }

    /// Both tokens; none where there is no such token.
    pub(crate) fn tokens(self) -> [Option<Token>; 2] {
        [(self.0 >> 32) as Token, self.0 as Token]
            .map(|token| (token != Self::NONE).then_some(token))
    }

    /// A number of the same order.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The suffix of such a number.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_come_longest_first_and_in_the_order_of_the_file() {
        let all = |text: &[Token]| Suffix::all(text).collect::<Vec<_>>();
        let [pair, single] = [Suffix::pair(2, 3), Suffix::single(3)];
        assert_eq!(all(&[1, 2, 3]), [pair, single, Suffix::EMPTY]);
        assert_eq!(all(&[2, 3]), [pair, single, Suffix::EMPTY]);
        assert_eq!(all(&[3]), [single, Suffix::EMPTY]);
        assert_eq!(all(&[]), [Suffix::EMPTY]);
        assert!(pair < single && single < Suffix::EMPTY);
        assert_eq!(
            [pair, single, Suffix::EMPTY].map(Suffix::is_pair),
            [true, false, false]
        );
        assert_eq!(
            [pair, single, Suffix::EMPTY].map(Suffix::tokens),
            [[Some(2), Some(3)], [None, Some(3)], [None, None]]
        );
    }
}
