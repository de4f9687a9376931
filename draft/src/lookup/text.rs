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

/// Where the end of a sequence stands in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match<'a> {
    /// Tokens that match.
    pub(super) len: usize,
    /// Where they end: the index of the token after them.
    pub(super) end: usize,
    /// The text from there on, never empty.
    after: &'a [Token],
}

impl Match<'_> {
    /// What comes `depth` tokens behind the match, if anything does.
    pub(super) fn follower(&self, depth: usize) -> Option<Token> {
        // Where the match reaches up to the sequence's end, it goes on with itself: the text has a period.
        let token = self.after[depth % self.after.len()];
        (token != SEPARATOR).then_some(token)
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

    /// Where the longest ending of the text that occurred before did, the latest place first, and from there on where
    /// ever shorter parts of it did.
    pub(super) fn repeats(&self) -> impl Iterator<Item = Match<'_>> {
        self.chain(self.automaton.repeat(self.len()))
    }

    /// The same of the longest ending of `tokens` that the text holds.
    pub(super) fn find(&self, tokens: &[Token]) -> impl Iterator<Item = Match<'_>> {
        self.chain(self.automaton.find(tokens))
    }

    /// What ends where an occurrence does has occurred before where the occurrence had, as far as that was as long.
    fn chain(&self, latest: Option<Repeat>) -> impl Iterator<Item = Match<'_>> {
        let earlier = |later: &Repeat| {
            let earlier = self.automaton.repeat(later.end as usize)?;
            let len = earlier.len.min(later.len);
            Some(Repeat { len, ..earlier })
        };
        std::iter::successors(latest, earlier).map(|Repeat { len, end }| Match {
            len: len as usize,
            end: end as usize,
            after: &self.tokens[end as usize..],
        })
    }
}
