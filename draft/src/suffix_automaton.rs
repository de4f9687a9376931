//! The suffix automaton of a growing sequence: how much of its end occurred before, and where.

use foretoken_model::Token;
use rustc_hash::FxHashMap;

/// A state: the substrings that end at the same places, each a suffix of the longest of them.
type State = u32;

const ROOT: State = 0;

/// No place in a list.
const NONE: u32 = u32::MAX;

/// States that are told of a new occurrence. All suffixes of what recurs recur with it, but in a text that repeats
/// itself they are as many as its tokens.
const MAX_TOLD: usize = 16;

/// Knows every substring of a sequence (Blumer et al., "The smallest automaton recognizing the subwords of a text",
/// 1985).
///
/// A token takes constant time, amortised, and at most two states and three edges, some 150 bytes, whatever the text.
#[derive(Debug)]
pub(crate) struct SuffixAutomaton {
    states: Vec<Substrings>,
    edges: FxHashMap<(State, Token), State>,
    /// Tokens on the edges of each state, in linked lists: who splits a state copies its edges.
    edge_tokens: Vec<(Token, u32)>,
    /// The state of the whole sequence.
    whole: State,
    repeat: Option<Repeat>,
}

/// What is known of a state.
#[derive(Clone, Copy, Debug)]
struct Substrings {
    /// Length of the longest.
    len: u32,
    /// The state of their longest suffix that ends at more places. The root's is the root.
    link: State,
    /// Where an occurrence ends, one of the latest: the index of the token after it.
    end: u32,
    /// Head of the list of tokens on its edges.
    edge_tokens: u32,
}

/// The longest suffix of a sequence that occurred before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Repeat {
    /// Its length.
    pub(crate) len: usize,
    /// Where the earlier occurrence ends: the index of the token after it.
    pub(crate) end: usize,
}

impl Default for SuffixAutomaton {
    /// That of no token.
    fn default() -> Self {
        let root = Substrings {
            len: 0,
            link: ROOT,
            end: 0,
            edge_tokens: NONE,
        };
        Self {
            states: vec![root],
            edges: FxHashMap::default(),
            edge_tokens: Vec::new(),
            whole: ROOT,
            repeat: None,
        }
    }
}

impl SuffixAutomaton {
    /// Tokens of the sequence.
    pub(crate) fn len(&self) -> usize {
        self.states[self.whole as usize].len as usize
    }

    /// The longest suffix that occurred before; none if the last token is new.
    ///
    /// `end` is that of the latest earlier occurrence, or of an older one if the latest was part of more than
    /// [`MAX_TOLD`] longer repeats.
    pub(crate) fn repeat(&self) -> Option<Repeat> {
        self.repeat
    }

    /// The longest suffix of `tokens` that the sequence holds, and where, one of the latest places.
    pub(crate) fn find(&self, tokens: &[Token]) -> Option<Repeat> {
        let (mut state, mut len) = (ROOT, 0);
        for &token in tokens {
            loop {
                if let Some(&longer) = self.edges.get(&(state, token)) {
                    (state, len) = (longer, len + 1);
                    break;
                }
                let Some(shorter) = self.shorter(state) else {
                    break;
                };
                state = shorter;
                len = self.states[state as usize].len as usize;
            }
        }
        let end = self.states[state as usize].end as usize;
        (len > 0).then_some(Repeat { len, end })
    }

    /// Takes one more token.
    pub(crate) fn push(&mut self, token: Token) {
        let len = self.states[self.whole as usize].len + 1;
        let whole = self.add(Substrings {
            len,
            link: ROOT,
            end: len,
            edge_tokens: NONE,
        });
        // Suffixes that the token never followed lead to the new state; the first that it did ends the walk.
        let mut state = Some(self.whole);
        while let Some(from) = state.filter(|&from| !self.edges.contains_key(&(from, token))) {
            self.connect(from, token, whole);
            state = self.shorter(from);
        }
        if let Some(from) = state {
            let link = self.ending_here(from, token);
            self.states[whole as usize].link = link;
        }
        self.whole = whole;
        self.find_repeat();
    }

    /// The state of the longest substring of `from`, and `token` after it. If it shares its state with longer
    /// substrings, they are parted: those do not end where the sequence does.
    fn ending_here(&mut self, from: State, token: Token) -> State {
        let shared = self.edges[&(from, token)];
        let longer = self.states[shared as usize];
        let len = self.states[from as usize].len + 1;
        if longer.len == len {
            return shared;
        }
        let parted = self.add(Substrings {
            len,
            edge_tokens: NONE,
            ..longer
        });
        self.states[shared as usize].link = parted;
        let mut entry = longer.edge_tokens;
        while let Some(&(token, next)) = self.edge_tokens.get(entry as usize) {
            self.connect(parted, token, self.edges[&(shared, token)]);
            entry = next;
        }
        let mut state = Some(from);
        while let Some(from) = state.filter(|&from| self.edges[&(from, token)] == shared) {
            self.edges.insert((from, token), parted);
            state = self.shorter(from);
        }
        parted
    }

    /// Reads where the longest suffix that is not new occurred, then tells it and its suffixes that they occur here.
    fn find_repeat(&mut self) {
        let here = self.states[self.whole as usize];
        let longest = self.states[here.link as usize];
        self.repeat = (here.link != ROOT).then_some(Repeat {
            len: longest.len as usize,
            end: longest.end as usize,
        });
        let mut told = self.shorter(self.whole);
        for _ in 0..MAX_TOLD {
            let Some(state) = told else { break };
            self.states[state as usize].end = here.len;
            told = self.shorter(state);
        }
    }

    /// The state of the longest suffix that is not in `state`; none after the root.
    fn shorter(&self, state: State) -> Option<State> {
        (state != ROOT).then(|| self.states[state as usize].link)
    }

    fn add(&mut self, substrings: Substrings) -> State {
        self.states.push(substrings);
        (self.states.len() - 1) as State
    }

    /// Adds an edge that was not there.
    fn connect(&mut self, from: State, token: Token, to: State) {
        self.edges.insert((from, token), to);
        let head = self.edge_tokens.len() as u32;
        let state = &mut self.states[from as usize];
        self.edge_tokens.push((token, state.edge_tokens));
        state.edge_tokens = head;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn automaton(text: &[Token]) -> SuffixAutomaton {
        let mut automaton = SuffixAutomaton::default();
        for &token in text {
            automaton.push(token);
        }
        automaton
    }

    /// The longest suffix that occurred before, at its latest place.
    fn by_force(text: &[Token]) -> Option<Repeat> {
        (1..text.len()).rev().find_map(|len| {
            let suffix = &text[text.len() - len..];
            let mut ends = (len..text.len()).rev();
            let end = ends.find(|&end| text[..end].ends_with(suffix))?;
            Some(Repeat { len, end })
        })
    }

    #[test]
    fn repeats_are_found_at_their_latest_place() {
        type Case = (&'static [Token], Option<(usize, usize)>);
        let cases: [Case; 6] = [
            (&[], None),
            (&[1, 2, 3], None),
            (&[1, 1, 1, 1], Some((3, 3))),
            (&[1, 2, 3, 1, 2], Some((2, 2))),
            (&[1, 2, 3, 1, 2, 4, 1, 2], Some((2, 5))),
            (&[9, 1, 2, 8, 9, 1, 2, 7, 1, 2], Some((2, 7))),
        ];
        for (text, want) in cases {
            let want = want.map(|(len, end)| Repeat { len, end });
            assert_eq!(automaton(text).repeat(), want, "{text:?}");
            assert_eq!(by_force(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_loop_takes_no_more_room_than_any_text() {
        let text: Vec<Token> = (0..20_000).map(|i| i % 3).collect();
        let automaton = automaton(&text);
        let (len, end) = (19_997, 19_997);
        assert_eq!(automaton.repeat(), Some(Repeat { len, end }));
        assert!(automaton.states.len() <= 2 * text.len());
        assert!(automaton.edges.len() <= 3 * text.len());
        assert_eq!(automaton.edge_tokens.len(), automaton.edges.len());
    }

    proptest! {
        #[test]
        fn what_is_found_is_the_longest_suffix_that_is_there(
            text in prop::collection::vec(0..3_u32, 0..60),
            tokens in prop::collection::vec(0..4_u32, 0..12),
        ) {
            let suffixes = (0..tokens.len()).map(|start| &tokens[start..]);
            let mut held = suffixes.filter(|suffix| text.windows(suffix.len()).any(|w| w == *suffix));
            let found = automaton(&text).find(&tokens);
            prop_assert_eq!(found.map(|found| found.len), held.next().map(<[Token]>::len));
            if let Some(Repeat { len, end }) = found {
                prop_assert!(text[..end].ends_with(&tokens[tokens.len() - len..]));
            }
        }

        #[test]
        fn repeats_are_those_of_a_search_by_force(text in prop::collection::vec(0..4_u32, 0..80)) {
            let mut automaton = SuffixAutomaton::default();
            for (index, &token) in text.iter().enumerate() {
                automaton.push(token);
                let text = &text[..=index];
                let (repeat, want) = (automaton.repeat(), by_force(text));
                prop_assert_eq!(automaton.len(), text.len());
                prop_assert_eq!(repeat.map(|repeat| repeat.len), want.map(|want| want.len));
                if let (Some(Repeat { len, end }), Some(want)) = (repeat, want) {
                    prop_assert!(text[..end].ends_with(&text[text.len() - len..]));
                    prop_assert!(end <= want.end);
                }
            }
        }
    }
}
