//! The served form against the trainer's forward.

use candle_core::DType;
use foretoken_model::{Dtype, SamplingParams, SeqId, Token};
use tempfile::TempDir;

use super::super::Form;
use super::super::level::Level;
use super::super::train::{Example, Network};
use super::{Bench, config, load, target};
use crate::drafter::{Context, Costs, Hints};
use crate::grow::{Frontier, Shape};
use crate::tree::DraftTree;

const NUM_STEPS: usize = 4;

#[test]
fn logits_are_those_of_the_trainer() {
    let some: Vec<Token> = (0..500).filter(|token| token % 3 != 1).collect();
    let cases = [
        (Form::Lean, None),
        (Form::Faithful, None),
        (Form::Lean, Some(&some)),
        (Form::Faithful, Some(&some)),
    ];
    for (form, draft_vocab) in cases {
        let draft_vocab = draft_vocab.map(Vec::as_slice);
        let target = target(Dtype::Float32);
        let network = Network::random(&target, config(&target, form, None), 5).unwrap();
        let folder = TempDir::new().unwrap();
        network
            .save(folder.path(), DType::F32, draft_vocab)
            .unwrap();
        let chimera = load(&folder, &target, Shape::Dynamic).unwrap();
        let mut bench = Bench::new(target, chimera, &[2, 3, 41]);
        let hidden = bench.prefill(16);
        bench.read();
        let branch: [Token; NUM_STEPS] = [11, 300, 11, 7];
        for (index, hidden) in hidden.iter().enumerate() {
            // The root is known already, then comes the branch's rest; the target's rows behind it are seen by nobody.
            let text = [&bench.sequences[index][..], &branch[1..]].concat();
            let num_computed = bench.sequences[index].len() - 1;
            let mut example = Example::default();
            example.push(&text, num_computed - 1..num_computed);
            let rest = hidden.zeros_like().unwrap();
            let rest = rest
                .narrow(0, 0, 1)
                .unwrap()
                .repeat((NUM_STEPS, 1))
                .unwrap();
            let rows = candle_core::Tensor::cat(&[hidden, &rest], 0).unwrap();
            let want = network.scores(&example, &rows, NUM_STEPS).unwrap();
            let tokens = bench.sequences[index].clone();
            let sampling = SamplingParams::greedy();
            let context = Context {
                seq: SeqId(index as u64),
                tokens: &tokens,
                table: &bench.tables[index],
                sampling: &sampling,
                max_draft_tokens: 63,
                max_draft_depth: 63,
                costs: Costs::default(),
                hints: Hints::default(),
            };
            let mut tree = DraftTree::new(context.root());
            for (parent, &token) in branch[1..].iter().enumerate() {
                tree.push(parent, token, 0.5, "test").unwrap();
            }
            let latest = bench.chimera.unread.latest();
            let layer = bench.chimera.cache.as_ref().unwrap().layer(0).clone();
            for (step, want) in want.iter().enumerate() {
                let frontier = Frontier {
                    index: 0,
                    context: &context,
                    tree: &tree,
                    nodes: step..step + 1,
                };
                let level = Level::new(&[frontier], latest, &[latest.find(&context)]).unwrap();
                let got = bench.chimera.network.compute(&level, &layer).unwrap();
                let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
                let want = match draft_vocab {
                    Some(tokens) => tokens.iter().map(|&token| want[token as usize]).collect(),
                    None => want,
                };
                assert_eq!(got.row(0).len(), want.len());
                for (got, want) in got.row(0).iter().zip(&want) {
                    assert!((got - want).abs() < 1e-4, "{form:?} {step}: {got} {want}");
                }
            }
        }
    }
}
