//! One distribution out of several: longer suffix before shorter, the sequence's own past before the corpus.

use foretoken_model::Token;

use super::overlay::Overlay;
use super::suffix::Suffix;
use super::table::StaticTable;
use crate::mixture::Mixture;

/// How much the sequence's own past is doubted: a row of weight w speaks for w / (w + DOUBT) of what may come.
const DOUBT: f32 = 0.7;

/// What may follow `last`, the last two tokens or the only one: to `mixture`, which is emptied before.
///
/// Each row takes its part of what those before it left: for the pair the overlay's, then the table's; then so for the
/// single token. The table's commonest tokens stand in where all of them are silent. From the table nothing is taken
/// whose chance is below `least`.
pub(crate) fn blend(
    overlay: &Overlay,
    table: Option<&StaticTable>,
    last: &[Token],
    least: f32,
    mixture: &mut Mixture,
) {
    mixture.clear();
    for suffix in Suffix::all(last) {
        let known = suffix == Suffix::EMPTY && !mixture.successors().is_empty();
        if known || mixture.is_complete() {
            break;
        }
        let row = overlay.successors(suffix);
        let doubted = DOUBT + row.iter().map(|&(_, weight)| weight).sum::<f32>();
        mixture.add(row.iter().map(|&(token, weight)| (token, weight / doubted)));
        if let Some(table) = table {
            let least = least / mixture.rest();
            let row = table.successors(suffix);
            mixture.add(row.take_while(|&(_, chance)| chance >= least));
        }
    }
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
        // After 1, 2: 1 / 1.7 for 3 by the overlay's pair; then 2 / 3 for 6 by the table's pair; then of the overlay's
        // single token 1.8 / 2.5, of the table's 3 / 5.
        type Case<'a> = (
            &'a Overlay,
            Option<&'a StaticTable>,
            &'a [Token],
            &'a [(Token, f32)],
        );
        let cases: [Case<'_>; 6] = [
            (&nothing, None, &[1, 2], &[]),
            (&own, None, &[1, 2], &[(3, 0.72), (4, 0.16)]),
            (&nothing, Some(&corpus), &[1, 2], &[(6, 0.80), (8, 0.07)]),
            (
                &own,
                Some(&corpus),
                &[1, 2],
                &[(3, 0.63), (4, 0.05), (6, 0.29), (8, 0.01)],
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
        for (own, corpus, last, want) in cases {
            blend(own, corpus, last, 0.0, &mut mixture);
            assert_close(mixture.successors(), want);
        }
    }

    #[test]
    fn the_unlikely_is_not_taken_from_the_table() {
        let corpus = table(&[1, 2, 6, 1, 2, 6, 7, 2, 8]);
        let mut mixture = Mixture::default();
        let own = Overlay::default();
        blend(&own, Some(&corpus), &[1, 2], 0.1, &mut mixture);
        // The single token's row would give 6 its 0.13 of the rest, but no 0.1 of 1 is left for 8.
        assert_close(mixture.successors(), &[(6, 0.80)]);
    }
}
