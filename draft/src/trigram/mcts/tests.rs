use crate::drafter::{Costs, Hints};
use foretoken_model::{BlockTable, SamplingParams, SeqId};

use super::*;

/// After any token t come 2t, 2t + 1 and 2t + 2, in this order, with a half, a quarter and an eighth.
fn guess(last: &[Token], guesses: &mut Vec<Successor>) {
    let next = 2 * last[last.len() - 1];
    guesses.clear();
    guesses.extend(
        [(next, 0.5), (next + 1, 0.25), (next + 2, 0.125)]
            .map(|(token, chance)| Successor::new(token, chance, "test")),
    );
}

fn make(mcts: &mut Mcts, tokens: &[Token], limits: (usize, usize)) -> DraftTree {
    let context = Context {
        seq: SeqId(1),
        tokens,
        table: BlockTable::EMPTY,
        sampling: &SamplingParams::greedy(),
        max_draft_tokens: limits.0,
        costs: Costs::default(),
        hints: Hints::default(),
        max_draft_depth: limits.1,
    };
    mcts.make(&context, "test", |last, _, guesses| guess(last, guesses))
}

#[test]
fn trees_are_well_formed_and_the_same_whenever_they_are_grown() {
    let mut mcts = Mcts::default();
    for limits in [(63, 63), (63, 2), (16, 63), (5, 1), (1, 63), (0, 9), (9, 0)] {
        let tree = make(&mut mcts, &[7, 3], limits);
        assert!(tree.num_draft_tokens() <= limits.0, "{limits:?}: {tree:?}");
        for node in 1..tree.num_nodes() {
            assert!(
                tree.depth(node) <= limits.1.min(MAX_DEPTH),
                "{limits:?}: {tree:?}"
            );
            assert!(tree.survival()[node] <= tree.survival()[tree.parents()[node]]);
            assert!(tree.survival()[node] <= tree.survival()[node - 1]);
        }
        assert_eq!(make(&mut Mcts::default(), &[7, 3], limits), tree);
    }
}

#[test]
fn the_likeliest_path_is_searched_to_its_end_and_one_token_is_put_behind() {
    let tree = make(&mut Mcts::default(), &[7, 3], (63, 63));
    let mut node = DraftTree::ROOT;
    for token in [6, 12, 24, 48] {
        node = tree.child(node, token).unwrap();
    }
    assert_eq!(tree.survival()[node], 1.0 / 16.0);
    let first: Vec<Token> = [6, 7, 8].to_vec();
    let children = first
        .iter()
        .map(|&token| tree.child(DraftTree::ROOT, token));
    assert!(
        children.into_iter().all(|child| child.is_some()),
        "{tree:?}"
    );
}

#[test]
fn where_nothing_follows_nothing_is_drafted() {
    let greedy = SamplingParams::greedy();
    let context = Context {
        seq: SeqId(1),
        tokens: &[3],
        table: BlockTable::EMPTY,
        sampling: &greedy,
        max_draft_tokens: 63,
        costs: Costs::default(),
        hints: Hints::default(),
        max_draft_depth: 63,
    };
    let mut asked = Vec::new();
    let tree = Mcts::default().make(&context, "test", |last, depth, guesses| {
        asked.push((last.to_vec(), depth));
        guesses.clear();
    });
    assert_eq!(tree, DraftTree::new(3));
    assert!(asked.iter().all(|ask| *ask == (vec![3], 0)), "{asked:?}");
}
