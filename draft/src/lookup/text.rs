//! Tokens in which matches are looked for.

use foretoken_model::Token;

use crate::suffix_automaton::{Repeat, SuffixAutomaton};

/// Stands between texts: no vocabulary has it, so it never follows anything that is drafted.
pub(super) const SEPARATOR: Token = Token::MAX;

/// A growing text that knows where its parts occur.
#[derive(Debug, Default)]
pub(super) struct Text {
    tokens: Vec<Token>,
    automaton: SuffixAutomaton,
}

/// Where the end of a sequence stands in a text, and what comes there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match<'a> {
    /// Tokens that match.
    pub(super) len: usize,
    /// Where they end: the index of the token after them.
    pub(super) end: usize,
    /// The text from there on.
    pub(super) after: &'a [Token],
    /// True if it is the client's prediction.
    pub(super) is_predicted: bool,
}

impl Text {
    pub(super) fn len(&self) -> usize {
        self.automaton.len()
    }

    pub(super) fn extend(&mut self, tokens: &[Token]) {
        self.tokens.extend(tokens);
        for &token in tokens {
            self.automaton.push(token);
        }
    }

    /// The longest ending of the text that occurred before.
    pub(super) fn repeat(&self) -> Option<Match<'_>> {
        self.automaton.repeat().map(|repeat| self.at(repeat))
    }

    /// The longest ending of `tokens` that the text holds.
    pub(super) fn find(&self, tokens: &[Token]) -> Option<Match<'_>> {
        self.automaton.find(tokens).map(|repeat| self.at(repeat))
    }

    fn at(&self, Repeat { len, end }: Repeat) -> Match<'_> {
        Match {
            len,
            end,
            after: &self.tokens[end..],
            is_predicted: false,
        }
    }
}
