//! What a sequence itself holds to draft from.

use std::ops::Range;

use foretoken_model::Token;

use super::text::{Match, SEPARATOR, Text};
use crate::drafter::{Context, Hints};

/// A sequence's tokens; between its prompt and its output its client's prediction, if there is one.
///
/// The prediction follows the prompt as the output does. One separator stands before either, so the output's first
/// tokens match the prediction's first ones, and before there are any, the separators match: it is drafted from its
/// start. Where prompt and prediction match alike, the prediction counts, being the later.
#[derive(Debug, Default)]
pub(super) struct Past {
    text: Text,
    /// Tokens of the sequence in the text.
    num_tokens: usize,
    /// Where the prediction lies in the text.
    prediction: Range<usize>,
}

impl Past {
    /// Takes what is new of the sequence.
    pub(super) fn advance(&mut self, context: &Context<'_>) {
        let tokens = context.tokens;
        if self.num_tokens > tokens.len() {
            *self = Self::default();
        }
        if self.num_tokens == 0 && !context.hints.prediction.is_empty() {
            self.begin(tokens, &context.hints);
        }
        self.text.extend(&tokens[self.num_tokens..]);
        self.num_tokens = tokens.len();
    }

    /// The longest match with the sequence's end.
    pub(super) fn longest_match(&self) -> Option<Match<'_>> {
        let mut found = self.text.repeat()?;
        found.is_predicted = self.prediction.contains(&found.end);
        Some(found)
    }

    fn begin(&mut self, tokens: &[Token], hints: &Hints<'_>) {
        self.num_tokens = hints.num_prompt_tokens.min(tokens.len());
        self.text.extend(&tokens[..self.num_tokens]);
        self.text.extend(&[SEPARATOR]);
        let start = self.text.len();
        self.prediction = start..start + hints.prediction.len();
        self.text.extend(hints.prediction);
        self.text.extend(&[SEPARATOR]);
    }
}
