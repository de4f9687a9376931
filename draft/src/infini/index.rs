//! The search: which suffixes of a corpus begin with a pattern, and what follows it there.

use std::cmp::Ordering;
use std::ops::Range;

use foretoken_model::Token;

/// Suffixes that begin alike: places in the suffix array, all side by side since it is in order.
pub(crate) type Interval = Range<u32>;

/// A longer context is not looked for: matches of so many tokens go on as surely as longer ones, and a corpus that
/// repeats itself would have whole prompts compared again and again.
pub(crate) const MAX_MATCH: usize = 256;

/// Occurrences that are read of those in an interval. As they are in the order of what follows, reading them at even
/// distances misses no token that has a larger share than one of them.
pub(crate) const MAX_READ: usize = 32;

/// Stands where there is no token. No vocabulary reaches it.
const NONE: Token = Token::MAX;

/// A corpus's tokens, as they are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tokens<'a> {
    /// Of a small vocabulary.
    Narrow(&'a [[u8; 2]]),
    /// Of a large one.
    Wide(&'a [[u8; 4]]),
}

/// Tokens, and where their suffixes begin, in order. Nothing is believed of either: of a forged index the answers make
/// no sense, but they come, and as fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index<'a> {
    vocab_size: Token,
    tokens: Tokens<'a>,
    suffixes: &'a [[u8; 4]],
}

/// What a pattern is found to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Match {
    /// Tokens of the pattern.
    pub(crate) len: usize,
    /// Where it occurs; never empty.
    pub(crate) interval: Interval,
}

impl Match {
    /// How often the pattern occurs.
    pub(crate) fn count(&self) -> u32 {
        self.interval.end - self.interval.start
    }
}

impl<'a> Index<'a> {
    /// Of as many tokens as suffixes, less than 2^32.
    pub(crate) fn new(vocab_size: Token, tokens: Tokens<'a>, suffixes: &'a [[u8; 4]]) -> Self {
        Self {
            vocab_size,
            tokens,
            suffixes,
        }
    }

    /// The longest suffix of `context` that occurs, and some shorter ones; by rising length, none if the last token
    /// does not occur.
    ///
    /// If a suffix occurs, so do all shorter ones: lengths double from 2 until one does not, then the last step is halved
    /// (Liu and others, "Infini-gram: Scaling Unbounded n-gram Language Models to a Trillion Tokens", arXiv
    /// 2401.17377). What is passed on the way is what there is to back off to.
    pub(crate) fn suffixes_of(&self, context: &[Token], matches: &mut Vec<Match>) {
        matches.clear();
        let known = context.iter().rev().take(MAX_MATCH);
        let limit = known.take_while(|&&token| token < self.vocab_size).count() + 1;
        let (mut occurs, mut does_not) = (0, limit);
        while occurs + 1 < does_not {
            let len = match does_not == limit {
                true => (2 * occurs.max(1)).min(limit - 1),
                false => occurs.midpoint(does_not),
            };
            let interval = self.find(&context[context.len() - len..]);
            if interval.is_empty() {
                does_not = len;
            } else {
                occurs = len;
                matches.push(Match { len, interval });
            }
        }
    }

    /// Where `pattern` occurs.
    pub(crate) fn find(&self, pattern: &[Token]) -> Interval {
        let all = 0..self.suffixes.len() as u32;
        let start = partition(all.clone(), |place| self.compare(place, pattern).is_lt());
        start..gallop(start..all.end, |place| self.compare(place, pattern).is_eq())
    }

    /// Where `token` follows a match.
    pub(crate) fn extend(&self, shorter: &Match, token: Token) -> Option<Match> {
        let next = |place| self.token(self.begin(place) + shorter.len);
        let Range { start, end } = shorter.interval;
        let start = partition(start..end, |place| next(place) < token);
        let end = gallop(start..end, |place| next(place) == token);
        (start < end).then_some(Match {
            len: shorter.len + 1,
            interval: start..end,
        })
    }

    /// What follows a match, with how often: all of it where it is [`MAX_READ`] times at most, else a sample of so
    /// many. The ends of documents are counted in the total alone, which is returned.
    pub(crate) fn followers(&self, found: &Match, followers: &mut Vec<(Token, u32)>) -> u32 {
        followers.clear();
        let num_read = found.count().min(MAX_READ as u32);
        for i in 0..num_read {
            // The middle of the i-th of `num_read` equal parts.
            let offset =
                (2 * u64::from(i) + 1) * u64::from(found.count()) / (2 * u64::from(num_read));
            let token = self.token(self.begin(found.interval.start + offset as u32) + found.len);
            match followers.last_mut() {
                Some((last, count)) if *last == token => *count += 1,
                _ if token < self.vocab_size => followers.push((token, 1)),
                _ => {}
            }
        }
        num_read
    }

    /// How the suffix at a place compares with `pattern`; equal if it begins with it.
    fn compare(&self, place: u32, pattern: &[Token]) -> Ordering {
        let begin = self.begin(place);
        let differing = (begin..).zip(pattern).find_map(|(at, wanted)| {
            let order = self.token(at).cmp(wanted);
            order.is_ne().then_some(order)
        });
        differing.unwrap_or(Ordering::Equal)
    }

    /// Where the suffix at a place begins.
    fn begin(&self, place: u32) -> usize {
        u32::from_le_bytes(self.suffixes[place as usize]) as usize
    }

    fn token(&self, at: usize) -> Token {
        match self.tokens {
            Tokens::Narrow(tokens) => tokens
                .get(at)
                .map_or(NONE, |&token| u16::from_le_bytes(token).into()),
            Tokens::Wide(tokens) => tokens
                .get(at)
                .map_or(NONE, |&token| Token::from_le_bytes(token)),
        }
    }
}

/// The first place that is not `before`, which holds for a beginning of `places`.
fn partition(places: Range<u32>, before: impl Fn(u32) -> bool) -> u32 {
    let Range { mut start, mut end } = places;
    while start < end {
        let middle = start.midpoint(end);
        match before(middle) {
            true => start = middle + 1,
            false => end = middle,
        }
    }
    start
}

/// The same, fast where that place is near the beginning.
fn gallop(places: Range<u32>, before: impl Fn(u32) -> bool) -> u32 {
    let Range { mut start, end } = places;
    let mut step = 1;
    while step < end - start && before(start + step - 1) {
        start += step;
        step *= 2;
    }
    let end = end.min(start.saturating_add(step));
    partition(start..end, before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Corpus;
    use super::super::corpus::tests::{file, forged};
    use super::*;

    fn corpus(documents: &[Vec<Token>]) -> Corpus {
        Corpus::new(file(10, documents), 10, 7).unwrap()
    }

    /// What follows each occurrence of `pattern`, [`NONE`] at the end of a document.
    fn by_force(documents: &[Vec<Token>], pattern: &[Token]) -> Vec<Token> {
        let mut followers = Vec::new();
        for document in documents {
            for end in pattern.len()..=document.len() {
                if document[..end].ends_with(pattern) {
                    followers.push(document.get(end).copied().unwrap_or(NONE));
                }
            }
        }
        followers.sort_unstable();
        followers
    }

    fn counted(followers: &[Token]) -> Vec<(Token, u32)> {
        let equal = followers.chunk_by(|a, b| a == b);
        let counts = equal.map(|tokens| (tokens[0], tokens.len() as u32));
        counts.filter(|&(token, _)| token != NONE).collect()
    }

    #[test]
    fn the_commonest_of_many_followers_are_sampled() {
        // After 1: 600 times 2, 300 times 3, then 4 to 9 once each.
        let followers = [vec![2; 600], vec![3; 300], (4..10).collect()].concat();
        let documents: Vec<_> = followers.iter().map(|&token| vec![1, token]).collect();
        let corpus = corpus(&documents);
        let interval = corpus.index().find(&[1]);
        assert_eq!(interval.len(), 906);
        let mut sample = Vec::new();
        let total = corpus
            .index()
            .followers(&Match { len: 1, interval }, &mut sample);
        assert_eq!(total, MAX_READ as u32);
        assert_eq!(sample[..2], [(2, 21), (3, 11)]);
    }

    #[test]
    fn a_long_match_is_found_up_to_the_limit() {
        let text: Vec<Token> = (0..1000).map(|i: u32| i.pow(2) / 7 % 10).collect();
        let corpus = corpus(std::slice::from_ref(&text));
        let mut matches = Vec::new();
        for (context, len) in [
            (text[..900].to_vec(), MAX_MATCH),
            ([&[9, 9, 9, 9], &text[300..517]].concat(), 217),
            ([&text[..30], &[10]].concat(), 0),
            (vec![], 0),
        ] {
            corpus.index().suffixes_of(&context, &mut matches);
            assert_eq!(matches.last().map_or(0, |found| found.len), len);
        }
    }

    fn documents() -> impl Strategy<Value = Vec<Vec<Token>>> {
        prop::collection::vec(prop::collection::vec(0..4_u32, 0..20), 0..6)
    }

    proptest! {
        #[test]
        fn matches_and_followers_are_those_of_a_search_by_force(
            documents in documents(),
            context in prop::collection::vec(0..5_u32, 0..8),
        ) {
            let corpus = corpus(&documents);
            let index = corpus.index();
            let (mut matches, mut followers) = (Vec::new(), Vec::new());
            index.suffixes_of(&context, &mut matches);
            prop_assert!(matches.is_sorted_by_key(|found| found.len));
            let longest = (1..=context.len()).rev().find(|&len| {
                !by_force(&documents, &context[context.len() - len..]).is_empty()
            });
            prop_assert_eq!(matches.last().map(|found| found.len), longest);
            for found in matches {
                let want = by_force(&documents, &context[context.len() - found.len..]);
                prop_assert_eq!(found.count() as usize, want.len());
                if want.len() <= MAX_READ {
                    let total = index.followers(&found, &mut followers);
                    prop_assert_eq!(total as usize, want.len());
                    prop_assert_eq!(&followers, &counted(&want));
                }
                for token in 0..10 {
                    let count = want.iter().filter(|&&follower| follower == token).count();
                    let longer = index.extend(&found, token);
                    prop_assert_eq!(longer.as_ref().map_or(0, |longer| longer.count() as usize), count);
                    prop_assert!(longer.is_none_or(|longer| longer.len == found.len + 1));
                }
            }
        }

        #[test]
        fn a_forged_index_never_panics(
            num_tokens in 0..32_usize,
            noise in prop::collection::vec(prop_oneof![0..40_u8, any::<u8>()], 6 * 32),
            small in any::<bool>(),
            context in prop::collection::vec(0..10_u32, 0..6),
        ) {
            let mut noise = noise[..6 * num_tokens].to_vec();
            if small {
                // Suffixes that are out of order, or beyond the end by little.
                noise.iter_mut().skip(2 * num_tokens).enumerate().filter(|(i, _)| i % 4 > 0).for_each(|(_, byte)| *byte = 0);
            }
            let corpus = Corpus::new(forged(10, num_tokens as u64, &noise), 10, 7).unwrap();
            let index = corpus.index();
            let (mut matches, mut followers) = (Vec::new(), Vec::new());
            index.suffixes_of(&context, &mut matches);
            for found in matches {
                prop_assert!(found.count() > 0 && found.interval.end <= num_tokens as u32);
                index.followers(&found, &mut followers);
                prop_assert!(followers.iter().all(|&(token, _)| token < 10));
                for token in 0..10 {
                    let longer = index.extend(&found, token);
                    prop_assert!(longer.is_none_or(|longer| longer.count() <= found.count()));
                }
            }
        }
    }
}
