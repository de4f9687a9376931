//! Tokens in which matches are looked for.

use foretoken_model::Token;

use super::{NAME, PREDICTION};
use crate::suffix_automaton::{Repeat, SuffixAutomaton};

/// Stands between texts: no vocabulary has it, so it never follows anything that is drafted.
pub(super) const SEPARATOR: Token = Token::MAX;

/// Tokens by which a match in a prediction counts as longer than it is: whoever states one knows more than the match.
const TRUST: usize = 8;

/// A growing text that knows where its parts occur.
#[derive(Debug, Default)]
pub(super) struct Text {
    tokens: Vec<Token>,
    automaton: SuffixAutomaton,
}

/// Where the end of a sequence stands in a text, and what comes there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match<'a> {
    /// Tokens that match.
    pub(super) len: usize,
    /// Where they end: the index of the token after them.
    pub(super) end: usize,
    /// The text from there on.
    pub(super) after: &'a [Token],
    /// True if it is the client's prediction.
    pub(crate) is_predicted: bool,
}

impl Match<'_> {
    /// Tokens that match; those of a prediction count for more.
    pub(crate) fn len(&self) -> usize {
        match self.is_predicted {
            true => self.len + TRUST,
            false => self.len,
        }
    }

    /// Who drafts what follows.
    pub(crate) fn source(&self) -> &'static str {
        match self.is_predicted {
            true => PREDICTION,
            false => NAME,
        }
    }

    /// What comes `depth` tokens behind the match, if anything does.
    pub(crate) fn follower(&self, depth: usize) -> Option<Token> {
        // Where the match reaches up to the sequence's end, it goes on with itself: the text has a period.
        let place = depth.checked_rem(self.after.len())?;
        Some(self.after[place]).filter(|&token| token != SEPARATOR)
    }
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
