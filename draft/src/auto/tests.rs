use foretoken_model::{BlockTable, SamplingParams, Token};
use proptest::prelude::*;

use super::*;
use crate::drafter::{Costs, Hints};
use crate::infini::tests::infini;
use crate::lookup::PREDICTION;

fn auto(documents: &[Vec<Token>]) -> Auto {
    let infini = (!documents.is_empty()).then(|| infini(documents));
    Auto::new(Trigram::new(None), Lookup::new(), infini)
}

fn propose(auto: &mut Auto, tokens: &[Token], num_drafts: usize, hints: Hints<'_>) -> DraftTree {
    sampled(auto, tokens, num_drafts, hints, 0.0)
}

fn sampled(
    auto: &mut Auto,
    tokens: &[Token],
    num_drafts: usize,
    hints: Hints<'_>,
    temperature: f32,
) -> DraftTree {
    let context = Context {
        seq: SeqId(1),
        tokens,
        table: BlockTable::EMPTY,
        sampling: &SamplingParams {
            temperature,
            seed: 3,
            ..SamplingParams::greedy()
        },
        max_draft_tokens: num_drafts,
        max_draft_depth: num_drafts,
        costs: Costs::default(),
        hints,
    };
    auto.propose(&[context]).unwrap().remove(0)
}

/// Children of the root by source, by falling chance.
fn first(tree: &DraftTree) -> Vec<(Token, &'static str)> {
    let children = (1..tree.num_nodes()).filter(|&node| tree.parents()[node] == DraftTree::ROOT);
    children
        .map(|node| (tree.tokens()[node], tree.source(node).unwrap()))
        .collect()
}

#[test]
fn all_that_the_drafters_know_is_in_one_tree() {
    // 3 followed 1 2 twice, and 4 once, which is all that tri-grams see; after 9 1 2 it was 4.
    let text = [9, 1, 2, 4, 1, 2, 3, 1, 2, 3, 9, 1, 2];
    let tree = propose(&mut auto(&[]), &text, 9, Hints::default());
    assert_eq!(first(&tree), [(3, "trigram"), (4, "lookup")]);
    // The corpus knows 5, and 3 as well.
    let mut auto = auto(&[vec![9, 1, 2, 5], vec![9, 1, 2, 3]]);
    let tree = propose(&mut auto, &text, 63, Hints::default());
    let mut found = first(&tree);
    found.sort_unstable();
    assert_eq!(found, [(3, "infini"), (4, "lookup"), (5, "infini")]);
}

#[test]
fn what_comes_true_is_believed_more_and_what_does_not_less() {
    // The prediction is right, or every token of it is wrong.
    let prediction: Vec<Token> = (100..160).collect();
    let hints = Hints {
        prediction: &prediction,
        num_prompt_tokens: 2,
        cache_salt: None,
    };
    let chance = |output: &[Token]| {
        let mut auto = auto(&[]);
        let mut tokens = vec![1, 2];
        let before = propose(&mut auto, &tokens, 4, hints).survival()[1];
        for &token in output {
            tokens.push(token);
            propose(&mut auto, &tokens, 4, hints);
        }
        // As long a match as before, of another sequence.
        auto.forget(SeqId(1));
        let tree = propose(&mut auto, &[1, 2], 4, hints);
        assert_eq!(first(&tree), [(100, PREDICTION)]);
        (before, tree.survival()[1])
    };
    let (before, after) = chance(&prediction[..20]);
    assert!(after > before, "{after}, {before} before");
    let (before, after) = chance(&[7]);
    assert!(after < before, "{after}, {before} before");
}

#[test]
fn outputs_are_shared_under_their_salt_alone() {
    for (salt, num_drafts) in [(Some("a"), 4), (Some("b"), 0), (None, 0)] {
        let lookup = Lookup::sharing(100);
        let mut auto = Auto::new(Trigram::new(None), lookup, None);
        auto.finished(&Finished {
            tokens: &[1, 2, 3, 4, 5, 6, 7],
            num_prompt_tokens: 3,
            cache_salt: Some("a"),
        });
        let hints = Hints {
            num_prompt_tokens: 3,
            cache_salt: salt,
            ..Hints::default()
        };
        let tree = propose(&mut auto, &[1, 2, 3], 9, hints);
        assert_eq!(tree.num_draft_tokens(), num_drafts, "{salt:?}");
    }
}

#[test]
fn what_is_forgotten_is_gone() {
    let mut auto = auto(&[]);
    let text = [1, 2, 3, 1, 2, 3];
    assert!(propose(&mut auto, &text, 4, Hints::default()).num_draft_tokens() > 0);
    auto.forget(SeqId(1));
    assert!(auto.pasts.is_empty());
    let tree = propose(&mut auto, &[1, 2], 4, Hints::default());
    assert_eq!(tree.num_draft_tokens(), 0);
}

proptest! {
    #[test]
    fn trees_are_well_formed_whatever_was_said_before(
        text in prop::collection::vec(0..6_u32, 1..60),
        documents in prop::collection::vec(prop::collection::vec(0..6_u32, 0..20), 0..4),
        prediction in prop::collection::vec(0..6_u32, 0..20),
        temperature in prop_oneof![Just(0.0_f32), Just(0.7), Just(2.0)],
        num_drafts in 0..=63_usize,
    ) {
        let mut auto = auto(&documents);
        let hints = Hints { prediction: &prediction, num_prompt_tokens: 1, cache_salt: None };
        // Some calls have more to say than one token, and one comes after another text.
        for end in (1..=text.len()).step_by(3).chain([1]) {
            let tree = sampled(&mut auto, &text[..end], num_drafts, hints, temperature);
            prop_assert!(tree.num_draft_tokens() <= num_drafts);
            for node in 1..tree.num_nodes() {
                let parent = tree.parents()[node];
                prop_assert!(parent < node);
                prop_assert_eq!(tree.child(parent, tree.tokens()[node]), Some(node), "no twins");
                prop_assert!(tree.tokens()[node] < 6);
                prop_assert!(tree.survival()[node] > 0.0);
                prop_assert!(tree.survival()[node] <= tree.survival()[node - 1]);
            }
        }
    }
}
