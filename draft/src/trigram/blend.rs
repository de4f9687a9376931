//! One distribution out of several: longer suffix before shorter, the sequence's own past before the corpus.

use foretoken_model::Token;

use super::NAME;
use super::overlay::Overlay;
use super::recent::Recent;
use super::shared::SharedRows;
use super::suffix::Suffix;
use super::table::StaticTable;
use crate::mixture::Mixture;
use crate::tree::{DraftTree, Node};

/// How much the sequence's own past is doubted: after two tokens, a row of weight w speaks for w / (w + doubt) of what
/// may come; after one, which tells less, the doubt is the other.
const PAIR_DOUBT: f32 = 0.6;
const SINGLE_DOUBT: f32 = 1.5;

/// The same for what others were answered, which is another text: as replays of 96 answers of each temperature had it.
const SHARED_PAIR_DOUBT: f32 = 3.0;
const SHARED_SINGLE_DOUBT: f32 = 20.0;

/// What it is worth to a token to be among the sequence's latest.
const RECENT_FACTOR: f32 = 1.7;

/// What is known of texts: the sequence's own, others', and the corpus.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) overlay: &'a Overlay,
    pub(super) recent: Recent,
    pub(super) shared: Option<&'a SharedRows>,
    pub(super) table: Option<&'a StaticTable>,
}

impl Sources<'_> {
    /// Adds what may follow a node.
    pub(crate) fn guess(&self, tree: &DraftTree, node: Node, least: f32, mixture: &mut Mixture) {
        let token = tree.tokens()[node];
        let before = match node {
            DraftTree::ROOT => self.tokens.iter().nth_back(1).copied(),
            _ => Some(tree.tokens()[tree.parents()[node]]),
        };
        match before {
            Some(before) => self.blend(&[before, token], least, mixture),
            None => self.blend(&[token], least, mixture),
        }
    }

    /// Adds what may follow `last`, the last two tokens or the only one.
    ///
    /// Each row takes its part of what those before it left: for the pair the overlay's, then what others were
    /// answered, then the table's; then so for the single token. The table's commonest tokens stand in where all of
    /// them are silent. Nothing is taken from the table whose chance is below `least`.
    pub(super) fn blend(&self, last: &[Token], least: f32, mixture: &mut Mixture) {
        for suffix in Suffix::all(last) {
            let known = suffix == Suffix::EMPTY && !mixture.successors().is_empty();
            if known || mixture.is_complete() {
                break;
            }
            let (own_doubt, shared_doubt) = match suffix.is_pair() {
                true => (PAIR_DOUBT, SHARED_PAIR_DOUBT),
                false => (SINGLE_DOUBT, SHARED_SINGLE_DOUBT),
            };
            add(mixture, self.overlay.successors(suffix), own_doubt);
            if let Some(shared) = self.shared {
                add(mixture, shared.successors(suffix), shared_doubt);
            }
            if let Some(table) = self.table {
                let least = least / mixture.rest();
                if least < 1.0 {
                    let row = table.successors(suffix);
                    mixture.add(NAME, row.take_while(|&(_, chance)| chance >= least));
                }
            }
        }
        mixture.favour(RECENT_FACTOR, |token| self.recent.holds(token));
    }
}

/// Adds a row by its weights, `doubt` being what they leave.
fn add(mixture: &mut Mixture, row: &[(Token, f32)], doubt: f32) {
    let doubted = doubt + row.iter().map(|&(_, weight)| weight).sum::<f32>();
    mixture.add(
        NAME,
        row.iter().map(|&(token, weight)| (token, weight / doubted)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::Successor;
    use crate::trigram::{Pruning, builder};

    fn overlay(tokens: &[Token]) -> Overlay {
        let mut overlay = Overlay::default();
        overlay.learn(tokens);
        overlay
    }

    fn table(document: &[Token]) -> StaticTable {
        builder::tests::table(&[document], Pruning::NONE)
    }

    fn sources<'a>(overlay: &'a Overlay, table: Option<&'a StaticTable>) -> Sources<'a> {
        Sources {
            tokens: &[],
            overlay,
            recent: Recent::default(),
            shared: None,
            table,
        }
    }

    /// Asserts the tokens by id and their chances, within what the table's storage rounds off.
    fn assert_close(successors: &mut [Successor], want: &[(Token, f32)]) {
        successors.sort_by_key(|successor| successor.token);
        let close = |(got, want): (&Successor, &(Token, f32))| {
            got.token == want.0 && (got.chance - want.1).abs() < 0.02
        };
        let all_close = successors.iter().zip(want).all(close);
        assert!(
            successors.len() == want.len() && all_close,
            "{successors:?}, not {want:?}"
        );
    }

    #[test]
    fn each_row_takes_its_part_of_the_rest() {
        let (own, nothing) = (overlay(&[1, 2, 3, 5, 2, 4]), Overlay::default());
        let corpus = table(&[1, 2, 6, 1, 2, 6, 7, 2, 8]);
        // After 1, 2: 1 / 1.6 for 3 by the overlay's pair; then 2 / 3 for 6 by the table's pair; then of the overlay's
        // single token 1.65 / 3.15, of the table's 3 / 5.
        type Case<'a> = (
            &'a Overlay,
            Option<&'a StaticTable>,
            &'a [Token],
            &'a [(Token, f32)],
        );
        let cases: [Case<'_>; 6] = [
            (&nothing, None, &[1, 2], &[]),
            (&own, None, &[1, 2], &[(3, 0.70), (4, 0.12)]),
            (&nothing, Some(&corpus), &[1, 2], &[(6, 0.80), (8, 0.07)]),
            (
                &own,
                Some(&corpus),
                &[1, 2],
                &[(3, 0.65), (4, 0.04), (6, 0.27), (8, 0.01)],
            ),
            (&nothing, Some(&corpus), &[9, 2], &[(6, 0.40), (8, 0.20)]),
            (
                &nothing,
                Some(&corpus),
                &[9],
                &[(1, 0.14), (2, 0.21), (6, 0.14), (7, 0.07), (8, 0.07)],
            ),
        ];
        let mut mixture = Mixture::default();
        for (overlay, table, last, want) in cases {
            mixture.clear();
            sources(overlay, table).blend(last, 0.0, &mut mixture);
            assert_close(mixture.successors(), want);
        }
    }

    #[test]
    fn the_unlikely_is_not_taken_from_the_table() {
        let corpus = table(&[1, 2, 6, 1, 2, 6, 7, 2, 8]);
        let mut mixture = Mixture::default();
        sources(&Overlay::default(), Some(&corpus)).blend(&[1, 2], 0.1, &mut mixture);
        // The single token's row would give 6 its 0.13 of the rest, but no 0.1 of 1 is left for 8.
        assert_close(mixture.successors(), &[(6, 0.80)]);
    }

    #[test]
    fn the_latest_tokens_are_favoured() {
        let corpus = table(&[1, 2, 6, 1, 2, 8]);
        let nothing = Overlay::default();
        let mut favouring = sources(&nothing, Some(&corpus));
        let mut mixture = Mixture::default();
        favouring.blend(&[1, 2], 0.0, &mut mixture);
        assert_close(mixture.successors(), &[(6, 0.38), (8, 0.38)]);
        mixture.clear();
        favouring.recent = Recent::of(&[5, 8, 7]);
        favouring.blend(&[1, 2], 0.0, &mut mixture);
        assert_close(mixture.successors(), &[(6, 0.30), (8, 0.51)]);
    }
}
