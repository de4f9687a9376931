//! ADED as its published program has it: a yardstick for the served drafter.

use std::collections::HashMap;

use candle_core::Result;
use foretoken_draft::trigram::{Mcts, StaticTable};
use foretoken_draft::{Context, DraftTree, Drafter, Successor};
use foretoken_model::Token;

const NAME: &str = "trigram-published";

/// Successors of a pair that are taken from the table.
const TABLE_SUCCESSORS: usize = 12;

/// Tokens at a text's end whose tri-grams are learnt again at each step, by so much, up to so much.
const WINDOW: usize = 16;
const INCREMENT: f32 = 0.04;
const MOST: f32 = 3.0;

/// The paper's search over a table that all requests write to; without back-off, without noise.
///
/// The program's error in scoring is not kept (by replay it changes nothing), nor is its table: that of the served model
/// stands in, which leaves out rare pairs.
#[derive(Debug, Default)]
pub(super) struct Published {
    table: Option<StaticTable>,
    /// Rows that were written to, with the table's own values in them.
    written: HashMap<(Token, Token), Vec<Successor>>,
    mcts: Mcts,
}

impl Published {
    pub(super) fn new(table: Option<StaticTable>) -> Self {
        Self {
            table,
            ..Self::default()
        }
    }

    fn learn(&mut self, tokens: &[Token]) {
        for window in tokens[tokens.len().saturating_sub(WINDOW)..].windows(3) {
            let (a, b, token) = (window[0], window[1], window[2]);
            let table = self.table.as_ref();
            let row = self
                .written
                .entry((a, b))
                .or_insert_with(|| row(table, a, b));
            match row.iter_mut().find(|successor| successor.token == token) {
                Some(successor) => successor.chance = MOST.min(successor.chance + INCREMENT),
                None => row.push(Successor::new(token, INCREMENT, NAME)),
            }
        }
    }
}

fn row(table: Option<&StaticTable>, a: Token, b: Token) -> Vec<Successor> {
    let successors = table.into_iter().flat_map(|table| table.after_pair(a, b));
    let successor = |(token, chance)| Successor::new(token, chance, NAME);
    successors.take(TABLE_SUCCESSORS).map(successor).collect()
}

impl Drafter for Published {
    fn name(&self) -> &'static str {
        NAME
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        let mut trees = Vec::new();
        for context in contexts {
            self.learn(context.tokens);
            let (table, written) = (self.table.as_ref(), &self.written);
            let guess = |last: &[Token], _, guesses: &mut Vec<Successor>| {
                guesses.clear();
                if let &[a, b] = last {
                    match written.get(&(a, b)) {
                        Some(row) => guesses.extend_from_slice(row),
                        None => guesses.extend(row(table, a, b)),
                    }
                    guesses.sort_by(|a, b| b.chance.total_cmp(&a.chance));
                }
            };
            trees.push(self.mcts.make(context, NAME, guess));
        }
        Ok(trees)
    }
}
