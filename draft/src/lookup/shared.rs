//! Outputs of sequences that have ended, for those that come later.

use foretoken_model::Token;
use rustc_hash::FxHashMap;

use super::text::{Match, SEPARATOR, Text};
use crate::drafter::Finished;

/// Tokens of a sequence's end that are looked for, and of a prompt's end that are kept in front of its output. More
/// would say little more about what follows.
const MAX_MATCH: usize = 16;

/// What a salt takes beside its outputs, in tokens of outputs.
const SALT_TOKENS: usize = 16;

/// The latest outputs, apart by salt: nobody drafts from what came under another.
///
/// An automaton forgets nothing, so there are two generations of them. New outputs go to the younger; when that is half
/// of all there may be, it becomes the older, and the older is dropped.
#[derive(Debug)]
pub(super) struct SharedOutputs {
    younger: Generation,
    older: Generation,
    /// Tokens of a generation.
    max_tokens: usize,
}

#[derive(Debug, Default)]
struct Generation {
    /// By salt; none is the empty one.
    texts: FxHashMap<Box<str>, Text>,
    num_tokens: usize,
}

impl SharedOutputs {
    /// Room for so many tokens.
    pub(super) fn new(max_tokens: usize) -> Self {
        Self {
            younger: Generation::default(),
            older: Generation::default(),
            max_tokens: max_tokens / 2,
        }
    }

    /// The longest match with the end of `tokens`, of equal ones the younger.
    pub(super) fn find(&self, salt: Option<&str>, tokens: &[Token]) -> Option<Match<'_>> {
        let end = &tokens[tokens.len().saturating_sub(MAX_MATCH)..];
        [&self.older, &self.younger]
            .into_iter()
            .filter_map(|generation| generation.texts.get(salt.unwrap_or_default())?.find(end))
            .max_by_key(|found| found.len)
    }

    /// Takes in what a sequence said, behind the end of its prompt: a prompt that ends alike finds it at once.
    pub(super) fn learn(&mut self, finished: &Finished<'_>) {
        let Finished {
            tokens,
            num_prompt_tokens,
            cache_salt,
        } = *finished;
        if tokens.len() <= num_prompt_tokens {
            return;
        }
        let tokens = &tokens[num_prompt_tokens.saturating_sub(MAX_MATCH)..];
        // Of what is longer than a generation, the end.
        let room = self.max_tokens.saturating_sub(SALT_TOKENS + 1);
        let tokens = &tokens[tokens.len().saturating_sub(room)..];
        let salt = cache_salt.unwrap_or_default();
        if self.younger.num_tokens + self.younger.cost(salt, tokens) > self.max_tokens {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.num_tokens += self.younger.cost(salt, tokens);
        let text = self.younger.texts.entry(salt.into()).or_default();
        text.extend(tokens);
        text.extend(&[SEPARATOR]);
    }

    /// Tokens that are held, salts reckoned as such.
    #[cfg(test)]
    fn num_tokens(&self) -> usize {
        self.younger.num_tokens + self.older.num_tokens
    }
}

impl Generation {
    /// Room that `tokens` would take.
    fn cost(&self, salt: &str, tokens: &[Token]) -> usize {
        let is_new = !self.texts.contains_key(salt);
        tokens.len() + 1 + if is_new { SALT_TOKENS } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(shared: &mut SharedOutputs, salt: Option<&str>, prompt: &[Token], output: &[Token]) {
        shared.learn(&Finished {
            tokens: &[prompt, output].concat(),
            num_prompt_tokens: prompt.len(),
            cache_salt: salt,
        });
    }

    #[test]
    fn outputs_are_found_from_the_prompts_end_on_and_under_their_salt_alone() {
        let mut shared = SharedOutputs::new(1000);
        learn(&mut shared, Some("a"), &[1, 2, 3], &[4, 5]);
        learn(&mut shared, None, &[1, 2, 3], &[6, 7]);
        learn(&mut shared, None, &[9], &[]);
        type Case<'a> = (Option<&'a str>, &'a [Token], Option<(usize, &'a [Token])>);
        let cases: [Case<'_>; 6] = [
            (Some("a"), &[1, 2, 3], Some((3, &[4, 5, SEPARATOR]))),
            (Some("a"), &[8, 4], Some((1, &[5, SEPARATOR]))),
            (Some("a"), &[6], None),
            (Some("b"), &[1, 2, 3], None),
            (None, &[0, 2, 3], Some((2, &[6, 7, SEPARATOR]))),
            (None, &[9], None),
        ];
        for (salt, tokens, want) in cases {
            let found = shared.find(salt, tokens);
            let found = found.map(|found| (found.len, found.after));
            assert_eq!(found, want, "{salt:?} {tokens:?}");
        }
    }

    #[test]
    fn a_million_tokens_take_no_more_room_than_there_is() {
        const ROOM: usize = 10_000;
        let mut shared = SharedOutputs::new(ROOM);
        let mut token = 0;
        while token < 1_000_000 {
            // Now and then one that is longer than all there may be.
            let len = if token % 7 == 0 {
                2 * ROOM as Token
            } else {
                100
            };
            let output: Vec<Token> = (token..token + len).collect();
            let salt = (token / 1000).to_string();
            learn(&mut shared, Some(&salt), &[], &output);
            assert!(shared.num_tokens() <= ROOM);
            // The latest is always there.
            let found = shared
                .find(Some(&salt), &output[output.len() - 2..])
                .unwrap();
            assert_eq!((found.len, found.after), (2, &[SEPARATOR][..]));
            token += len;
        }
        let texts = [&shared.younger, &shared.older].map(|generation| &generation.texts);
        let lens = texts.iter().flat_map(|texts| texts.values()).map(Text::len);
        assert!(lens.sum::<usize>() <= ROOM);
        assert!(shared.find(Some("0"), &[1]).is_none(), "long forgotten");
    }
}
