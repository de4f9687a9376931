//! The texts that are learnt from, and the order in which they come.

use std::cmp::Reverse;
use std::collections::HashMap;

use foretoken_model::Token;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::example::Example;

/// One text in so many is held out for validation.
const HELD_OUT: usize = 100;

/// Texts as tokens, cut to what is computed together. They are held in memory: 4 bytes a token.
#[derive(Debug)]
pub struct Texts {
    num_rows: usize,
    num_steps: usize,
    num_seen: usize,
    /// True if what is held out comes from elsewhere.
    learns_all: bool,
    learnt: Vec<Vec<Token>>,
    held_out: Vec<Vec<Token>>,
}

impl Texts {
    /// None yet, for examples of `num_rows` tokens and drafts of `num_steps` steps.
    pub fn new(num_rows: usize, num_steps: usize) -> Self {
        Self {
            num_rows,
            num_steps,
            num_seen: 0,
            learns_all: false,
            learnt: Vec::new(),
            held_out: Vec::new(),
        }
    }

    /// Adds a text. One in a hundred is held out, unless texts were held out before by name.
    pub fn push(&mut self, text: &[Token]) {
        let is_held_out = !self.learns_all && self.num_seen % HELD_OUT == HELD_OUT / 2;
        self.num_seen += 1;
        let pieces = self.cut(text);
        match is_held_out {
            true => self.held_out.extend(pieces),
            false => self.learnt.extend(pieces),
        }
    }

    /// Adds a text that is looked at and not learnt from. They come before the others, which are all learnt from then.
    pub fn hold_out(&mut self, text: &[Token]) {
        self.learns_all = true;
        self.held_out.extend(self.cut(text));
    }

    fn cut(&self, text: &[Token]) -> Vec<Vec<Token>> {
        let long_enough = |piece: &&[Token]| piece.len() >= 2 * (self.num_steps + 1);
        let cut = text.chunks(self.num_rows).filter(long_enough);
        cut.map(<[Token]>::to_vec).collect()
    }

    /// The commonest tokens that are learnt from, `most` at most, by id.
    pub(super) fn commonest(&self, most: usize) -> Vec<Token> {
        let mut counts: HashMap<Token, u64> = HashMap::new();
        for &token in self.learnt.iter().flatten() {
            *counts.entry(token).or_default() += 1;
        }
        let mut tokens: Vec<Token> = counts.keys().copied().collect();
        tokens.sort_unstable_by_key(|token| (Reverse(counts[token]), *token));
        tokens.truncate(most);
        tokens.sort_unstable();
        tokens
    }

    /// Tokens of one pass.
    pub fn num_tokens(&self) -> u64 {
        self.learnt.iter().map(|text| text.len() as u64).sum()
    }

    /// Makes sure that there is something to learn from and something to look at: the last text, if none was held out.
    pub(super) fn finish(&mut self) -> bool {
        if self.held_out.is_empty() && self.learnt.len() > 1 {
            self.held_out.extend(self.learnt.pop());
        }
        !self.learnt.is_empty() && !self.held_out.is_empty()
    }

    /// A pass's examples, as the numbers of the texts in each; another order in each pass.
    pub(super) fn pass(&self, seed: u64, pass: u64) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.learnt.len()).collect();
        order.shuffle(&mut random(seed, pass, u64::MAX));
        let mut examples = Vec::new();
        let mut texts = Vec::new();
        let mut num_tokens = 0;
        for text in order {
            num_tokens += self.learnt[text].len();
            if num_tokens > self.num_rows {
                examples.push(std::mem::take(&mut texts));
                num_tokens = self.learnt[text].len();
            }
            texts.push(text);
        }
        examples.push(texts);
        examples
    }

    /// Example `index` of a pass, with a stretch of anchors in each text.
    pub(super) fn example(&self, texts: &[usize], share: f64, random: &mut StdRng) -> Example {
        let texts = texts.iter().map(|&text| self.learnt[text].as_slice());
        example(texts, self.num_steps, share, random)
    }

    /// Examples of what was held out, `most` at most, always the same.
    pub(super) fn validation(&self, num_steps: usize, share: f64, most: usize) -> Vec<Example> {
        let random = &mut random(0, 0, 0);
        let mut order: Vec<usize> = (0..self.held_out.len()).collect();
        order.shuffle(random);
        let texts = order.iter().map(|&text| self.held_out[text].as_slice());
        let texts = texts.filter(|text| text.len() > num_steps + 1).take(most);
        let one = |text| example(std::iter::once(text), num_steps, share, random);
        texts.map(one).collect()
    }
}

/// Random numbers that depend on the place in a run alone, so that a resumed run sees the same.
pub(super) fn random(seed: u64, pass: u64, index: u64) -> StdRng {
    let mut bytes = [0; 32];
    for (bytes, number) in bytes.chunks_exact_mut(8).zip([seed, pass, index]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

fn example<'a>(
    texts: impl Iterator<Item = &'a [Token]>,
    num_steps: usize,
    share: f64,
    random: &mut StdRng,
) -> Example {
    let mut example = Example::default();
    for text in texts {
        // The last step's target row is the text's last.
        let most = text.len() - num_steps;
        let width = ((text.len() as f64 * share).ceil() as usize).clamp(1, most);
        let start = random.random_range(0..=most - width);
        example.push(text, start..start + width);
    }
    example
}
