//! The drafter: who gets a tree, and which.

use candle_core::Tensor;
use foretoken_model::{Dtype, SamplingParams, SeqId, Token};

use super::super::Form;
use super::{Bench, config, drafter, target, weights};
use crate::drafter::{Context, Costs, Drafter, Hints};
use crate::tree::DraftTree;

const LENS: [usize; 4] = [2, 19, 40, 5];

fn bench(form: Form, draft_vocab_size: Option<usize>, spoil: bool) -> Bench {
    let target = target(Dtype::Bfloat16);
    let config = config(&target, form, draft_vocab_size);
    let mut weights = weights(&config);
    if spoil {
        let nan = |weight: &Tensor| (weight * f64::NAN).unwrap();
        weights.insert(
            "layer.k_proj.weight".to_owned(),
            nan(&weights["layer.k_proj.weight"]),
        );
    }
    let chimera = drafter(&target, &config, &weights);
    Bench::new(target, chimera, &LENS)
}

/// Trees of some of the sequences.
fn proposed(bench: &mut Bench, sequences: &[usize], temperature: f32) -> Vec<DraftTree> {
    let sampling = SamplingParams {
        temperature,
        ..SamplingParams::greedy()
    };
    let context = |&index: &usize| Context {
        seq: SeqId(index as u64),
        tokens: &bench.sequences[index],
        table: &bench.tables[index],
        sampling: &sampling,
        max_draft_tokens: 24,
        max_draft_depth: 5,
        costs: Costs::default(),
        hints: Hints::default(),
    };
    let contexts: Vec<Context<'_>> = sequences.iter().map(context).collect();
    bench.chimera.propose(&contexts).unwrap()
}

#[test]
fn only_sequences_that_are_computed_up_to_their_root_get_a_tree() {
    let mut bench = bench(Form::Lean, None, false);
    let sizes = |trees: Vec<DraftTree>| -> Vec<bool> {
        trees.iter().map(|tree| tree.num_nodes() > 1).collect()
    };
    let all = [0, 1, 2, 3];
    assert_eq!(
        sizes(proposed(&mut bench, &all, 0.0)),
        [false; 4],
        "nothing is known"
    );
    bench.prefill(64);
    assert_eq!(sizes(proposed(&mut bench, &all, 0.0)), [true; 4]);
    bench.sequences[1].push(7);
    bench.chimera.forget(SeqId(2));
    let want = [true, false, false, true];
    assert_eq!(
        sizes(proposed(&mut bench, &all, 0.0)),
        want,
        "ahead, and forgotten"
    );
}

#[test]
fn trees_are_the_same_in_any_company_and_of_tokens_that_can_be_drafted() {
    for form in [Form::Lean, Form::Faithful] {
        for (draft_vocab_size, temperature) in [(None, 0.0), (Some(50), 0.0), (Some(50), 1.0)] {
            let mut bench = bench(form, draft_vocab_size, false);
            bench.prefill(7);
            let all = proposed(&mut bench, &[0, 1, 2, 3], temperature);
            for (index, tree) in all.iter().enumerate() {
                assert!(tree.num_nodes() > 1);
                let can_be = |&token: &Token| draft_vocab_size.is_none() || token % 2 == 1;
                assert!(tree.tokens()[1..].iter().all(can_be), "{tree:?}");
                assert_eq!(&proposed(&mut bench, &[index], temperature)[0], tree);
            }
        }
    }
}

#[test]
fn an_accepted_path_leaves_what_computing_its_tokens_would() {
    let mut bench = bench(Form::Lean, None, false);
    bench.prefill(64);
    let mut tree = DraftTree::new(bench.sequences[1][LENS[1] - 1]);
    for (parent, token) in [(0, 9), (0, 8), (2, 7), (2, 6), (4, 5)] {
        tree.push(parent, token, 0.5, "test").unwrap();
    }
    // What the drafter itself leaves behind the context is written over.
    proposed(&mut bench, &[1], 0.0);
    bench.verify(1, &tree, &[2, 4, 5], 77);
    assert!(bench.sequences[1].ends_with(&[8, 6, 5, 77]));
    let got = proposed(&mut bench, &[1], 0.0);
    bench.prefill(64);
    assert_eq!(proposed(&mut bench, &[1], 0.0), got);
    assert!(got[0].num_draft_tokens() > 0);
}

#[test]
fn weights_that_are_no_numbers_draft_nothing() {
    for form in [Form::Lean, Form::Faithful] {
        let mut bench = bench(form, None, true);
        bench.prefill(64);
        for tree in proposed(&mut bench, &[0, 1, 2, 3], 1.0) {
            assert_eq!(tree.num_draft_tokens(), 0);
        }
    }
}
