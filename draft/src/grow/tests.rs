use foretoken_model::{BlockTable, Sampler, SamplingParams, SeqId, Token};

use super::*;
use crate::drafter::{Costs, Hints};

const VOCAB: Token = 40;

fn context<'a>(
    tokens: &'a [Token],
    sampling: &'a SamplingParams,
    max_draft_tokens: usize,
    max_draft_depth: usize,
) -> Context<'a> {
    Context {
        seq: SeqId(1),
        tokens,
        table: BlockTable::EMPTY,
        sampling,
        max_draft_tokens,
        max_draft_depth,
        costs: Costs::default(),
        hints: Hints::default(),
    }
}

/// The tokens from the root to a node.
fn branch(tree: &DraftTree, mut node: Node) -> Vec<Token> {
    let mut tokens = vec![tree.tokens()[node]];
    while node != DraftTree::ROOT {
        node = tree.parents()[node];
        tokens.insert(0, tree.tokens()[node]);
    }
    tokens
}

/// Grows with a network that says by the branch what follows it; gives the nodes of each forward as well.
fn grown(
    contexts: &[Context<'_>],
    shape: Shape,
    logits: impl Fn(&[Token]) -> Vec<f32>,
) -> (Vec<DraftTree>, Vec<usize>) {
    let mut forwards = Vec::new();
    let trees = grow(
        contexts,
        manner(shape),
        &vec![usize::MAX; contexts.len()],
        |frontiers, look| {
            let nodes = frontiers.iter().flat_map(|frontier| {
                frontier
                    .nodes
                    .clone()
                    .map(move |node| (frontier.tree, node))
            });
            let rows = nodes
                .clone()
                .map(|(tree, node)| logits(&branch(tree, node)));
            let rows: Vec<Vec<f32>> = rows.collect();
            look(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
            forwards.push(nodes.count());
            Ok(())
        },
    );
    (trees.unwrap(), forwards)
}

fn manner(shape: Shape) -> Manner<'static> {
    Manner {
        source: "test",
        shape,
        draft_vocab: None,
    }
}

/// Logits by a hash of the branch.
fn arbitrary(branch: &[Token]) -> Vec<f32> {
    let hash = branch.iter().fold(7_u32, |hash, &token| {
        (hash ^ token).wrapping_mul(0x9e37_79b1).rotate_left(5)
    });
    (0..VOCAB)
        .map(|token| (hash.wrapping_mul(2 * token + 1) >> 24) as f32 / 32.0)
        .collect()
}

fn at(temperature: f32, seed: u64) -> SamplingParams {
    SamplingParams {
        temperature,
        seed,
        ..SamplingParams::greedy()
    }
}

fn branches(tree: &DraftTree) -> Vec<Vec<Token>> {
    (1..tree.num_nodes())
        .map(|node| branch(tree, node)[1..].to_vec())
        .collect()
}

#[test]
fn the_likeliest_nodes_are_drafted_whatever_their_depth() {
    let chances = |_: &[Token]| [0.7_f32, 0.2, 0.1].map(f32::ln).to_vec();
    let greedy = SamplingParams::greedy();
    type Case = (usize, usize, &'static [&'static [Token]], &'static [usize]);
    let cases: [Case; 4] = [
        (1, 63, &[&[0]], &[1]),
        (3, 63, &[&[0], &[0, 0], &[0, 0, 0]], &[1, 1, 1]),
        (4, 2, &[&[0], &[0, 0], &[1], &[0, 1]], &[1, 1]),
        (
            6,
            63,
            &[
                &[0],
                &[0, 0],
                &[0, 0, 0],
                &[0, 0, 0, 0],
                &[1],
                &[0, 0, 0, 0, 0],
            ],
            &[1, 2, 2, 1, 1],
        ),
    ];
    for (num_tokens, depth, want, want_forwards) in cases {
        let context = context(&[5, 9], &greedy, num_tokens, depth);
        let (trees, forwards) = grown(&[context], Shape::Dynamic, chances);
        assert_eq!(branches(&trees[0]), want, "{num_tokens}, {depth}");
        assert_eq!(forwards, want_forwards, "{num_tokens}, {depth}");
    }
}

#[test]
fn limits_hold_and_each_level_of_all_sequences_is_one_forward() {
    for temperature in [0.0, 0.6, 1.0, 1.4] {
        let samplings: Vec<_> = (0..5).map(|seed| at(temperature, seed)).collect();
        let limits = [(63, 63), (0, 5), (17, 1), (5, 4), (30, 0)];
        let contexts: Vec<_> = (limits.iter().zip(&samplings))
            .map(|(&(tokens, depth), sampling)| context(&[3, 1], sampling, tokens, depth))
            .collect();
        let (trees, forwards) = grown(&contexts, Shape::Dynamic, arbitrary);
        for ((&(max_tokens, max_depth), tree), context) in limits.iter().zip(&trees).zip(&contexts)
        {
            assert!(tree.num_draft_tokens() <= max_tokens);
            assert_eq!(tree.num_nodes() > 1, max_tokens.min(max_depth) > 0);
            for node in 1..tree.num_nodes() {
                assert!(tree.depth(node) <= max_depth);
                assert!(tree.survival()[node] <= tree.survival()[tree.parents()[node]]);
                assert_eq!(tree.source(node), Some("test"));
            }
            assert!(tree.survival().is_sorted_by(|a, b| a >= b));
            let alone = grown(&[*context], Shape::Dynamic, arbitrary).0;
            assert_eq!(*tree, alone[0], "whoever else grows");
        }
        assert_eq!(forwards[0], 3, "those without a limit of 0");
        assert!(forwards.iter().sum::<usize>() <= 3 * DraftTree::MAX_NODES);
    }
}

#[test]
fn a_tree_of_fixed_shape_has_the_published_branches() {
    let ranks = |_: &[Token]| (0..VOCAB).map(|token| -(token as f32)).collect();
    let greedy = SamplingParams::greedy();
    let published: [&[Token]; 25] = [
        &[0],
        &[1],
        &[2],
        &[3],
        &[0, 0],
        &[0, 1],
        &[0, 2],
        &[1, 0],
        &[1, 1],
        &[2, 0],
        &[2, 1],
        &[3, 0],
        &[0, 0, 0],
        &[0, 0, 1],
        &[0, 0, 2],
        &[0, 1, 0],
        &[0, 1, 1],
        &[0, 2, 0],
        &[0, 2, 1],
        &[1, 0, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 1],
        &[0, 0, 0, 2],
        &[0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 1],
    ];
    for (num_tokens, depth, num_nodes) in [(63, 63, 25), (25, 63, 25), (9, 63, 9), (63, 2, 12)] {
        let context = context(&[5], &greedy, num_tokens, depth);
        let (trees, _) = grown(&[context], Shape::PUBLISHED, ranks);
        assert_eq!(branches(&trees[0]), published[..num_nodes]);
    }
}

#[test]
fn the_first_child_is_what_the_sampler_would_say_of_these_logits() {
    const CHAIN: Shape = Shape::Fixed(&[&[1_usize] as &[usize]; 6]);
    #[rustfmt::skip]
    let filters = [
        SamplingParams::greedy(),
        SamplingParams { top_k: 3, ..SamplingParams::greedy() },
        SamplingParams { top_p: 0.6, ..SamplingParams::greedy() },
        SamplingParams { min_p: 0.3, logit_bias: vec![(4, 5.0)], ..SamplingParams::greedy() },
    ];
    for temperature in [0.0, 0.4, 1.0, 1.7] {
        for (seed, filter) in (0..200).zip(filters.iter().cycle()) {
            let sampling = SamplingParams {
                temperature,
                seed,
                ..filter.clone()
            };
            let tokens = [8, 2, 3];
            let context = context(&tokens, &sampling, 6, 63);
            let (trees, forwards) = grown(&[context], CHAIN, arbitrary);
            assert_eq!(forwards, [1; 6]);
            let mut sampler = Sampler::new(sampling.clone(), &[]);
            let mut said = vec![3];
            for position in tokens.len()..tokens.len() + 6 {
                said.push(sampler.sample(&arbitrary(&said), position));
            }
            assert_eq!(trees[0].tokens(), said, "{sampling:?}");
        }
    }
}

#[test]
fn what_is_no_number_is_no_guess() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let greedy = SamplingParams::greedy();
    let cases: [(&[f32], &[Token]); 6] = [
        (&[], &[]),
        (&[NAN, NAN], &[]),
        (&[-INF, -INF], &[]),
        (&[1.0, INF], &[]),
        (&[NAN, 2.0, 1.0], &[1, 2]),
        (&[-INF, -1.0], &[1]),
    ];
    for (logits, want) in cases {
        for sampling in [&greedy, &at(1.0, 3)] {
            let context = context(&[5], sampling, 8, 1);
            let (trees, _) = grown(&[context], Shape::Dynamic, |_| logits.to_vec());
            let mut got = trees[0].tokens()[1..].to_vec();
            got.sort_unstable();
            assert_eq!(got, want, "{logits:?}");
        }
    }
    // A row of none does not spoil the others.
    let context = context(&[5], &greedy, 8, 2);
    let (trees, _) = grown(&[context], Shape::Dynamic, |branch| match branch {
        [_, 0] => vec![NAN; 2],
        _ => vec![0.7_f32.ln(), 0.3_f32.ln()],
    });
    assert_eq!(branches(&trees[0]), [&[0][..], &[1], &[1, 0], &[1, 1]]);
}

#[test]
fn a_network_that_fails_is_heard_and_one_that_is_not_asked_is_not() {
    let greedy = SamplingParams::greedy();
    let contexts = [context(&[5], &greedy, 8, 2)];
    let fails = |_: &[Frontier<'_>], _: &mut Look<'_>| candle_core::bail!("no");
    let manner = manner(Shape::Dynamic);
    assert!(grow(&contexts, manner, &[3], fails).is_err());
    let trees = grow(&contexts, manner, &[0], fails).unwrap();
    assert_eq!(trees, [DraftTree::new(5)]);
}

#[test]
fn a_level_that_costs_more_than_it_brings_is_not_computed() {
    let chances = |_: &[Token]| [0.8_f32, 0.2].map(f32::ln).to_vec();
    let greedy = SamplingParams::greedy();
    // The best branch survives with 0.8, 0.64, 0.51, 0.41, ..; what follows it promises 0.56, 0.45, 0.36, 0.29, ..
    let cases = [(0.0, 0.0, 3), (0.3, 0.0, 3), (0.4, 0.1, 2), (0.6, 0.0, 1)];
    for (level, node, num_levels) in cases {
        let context = Context {
            costs: Costs { level, node },
            ..context(&[5, 9], &greedy, 3, 63)
        };
        let (trees, forwards) = grown(&[context], Shape::Dynamic, chances);
        let most = [1; 3];
        assert_eq!(forwards, most[..num_levels], "{level} {node}: {trees:?}");
    }
}

#[test]
fn guesses_by_a_part_of_the_tokens_are_those_by_the_whole_without_the_rest() {
    let draft_vocab: Vec<Token> = (0..VOCAB).filter(|token| token % 3 != 0).rev().collect();
    for temperature in [0.0, 0.8] {
        let sampling = SamplingParams {
            logit_bias: vec![(7, 3.0), (9, 30.0)],
            ..at(temperature, 4)
        };
        let context = context(&[5, 9], &sampling, 12, 1);
        let grown = |logits: Vec<f32>, draft_vocab| {
            let manner = Manner {
                draft_vocab,
                ..manner(Shape::Dynamic)
            };
            let trees = grow(&[context], manner, &[3], |_, look| {
                look(&[&logits]);
                Ok(())
            });
            trees.unwrap().remove(0)
        };
        let whole = arbitrary(&[9]);
        let part = draft_vocab.iter().map(|&token| whole[token as usize]);
        let got = grown(part.collect(), Some(&draft_vocab[..]));
        let without_rest = (0..).zip(&whole).map(|(token, &logit)| match token % 3 {
            0 => f32::NEG_INFINITY,
            _ => logit,
        });
        let want = grown(without_rest.collect(), None);
        assert_eq!(got.tokens(), want.tokens());
        assert!(got.num_draft_tokens() > 1);
    }
}
