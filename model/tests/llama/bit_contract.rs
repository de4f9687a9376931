//! A row's logits are the same bits whatever stands beside it, however it came there, and however many threads run.

use crate::common::{Random, Runner, committed, demo, load_with, stories, tiny_config, write_tiny};
use foretoken_model::{Dtype, LoadOptions, LoadedModel, Quantization, SequenceRows, Token};
use serde_json::json;

const CONTEXT: usize = 37;

/// A sequence and a tree under its last token: two branches, one of them forking, nodes out of order by depth.
struct Case {
    tokens: Vec<Token>,
    draft_tokens: Vec<Token>,
    parents: Vec<usize>,
    ancestors: Vec<u64>,
}

impl Case {
    fn new(vocab_size: usize) -> Self {
        let mut random = Random(3);
        let mut token = || random.below(vocab_size) as Token;
        let parents = vec![0, 1, 0, 2, 3, 2, 5, 4, 1, 0, 7, 11];
        let mut ancestors = vec![1u64];
        for (index, &parent) in parents.iter().enumerate() {
            ancestors.push(ancestors[parent] | 1 << (index + 1));
        }
        ancestors.remove(0);
        Self {
            tokens: (0..CONTEXT).map(|_| token()).collect(),
            draft_tokens: parents.iter().map(|_| token()).collect(),
            parents,
            ancestors,
        }
    }

    /// The committed tokens and then the draft tokens on the way down to `node`.
    fn path(&self, node: usize) -> Vec<Token> {
        let mut nodes = vec![];
        let mut at = node;
        while at != 0 {
            nodes.push(at);
            at = self.parents[at - 1];
        }
        let drafts = nodes.iter().rev().map(|&node| self.draft_tokens[node - 1]);
        self.tokens.iter().copied().chain(drafts).collect()
    }

    /// Logits of the root and of every node, each from a chain fed one by one.
    fn reference(&self, model: &LoadedModel) -> Vec<Vec<u32>> {
        let last = |node| {
            let mut logits = Runner::new(model, 64).one_by_one(&self.path(node));
            bits(logits.pop().unwrap())
        };
        (0..=self.draft_tokens.len()).map(last).collect()
    }
}

fn bits(row: Vec<f32>) -> Vec<u32> {
    row.into_iter().map(f32::to_bits).collect()
}

/// The tree's logits after a prompt in chunks of `chunk`, `strangers` sequences standing before and behind.
fn in_a_tree(model: &LoadedModel, case: &Case, chunk: usize, strangers: usize) -> Vec<Vec<u32>> {
    let mut runner = Runner::new(model, 1024);
    let mut random = Random(11);
    let vocab_size = model.llama.config().vocab_size;
    let others: Vec<Vec<Token>> = (0..2 * strangers)
        .map(|index| {
            (0..5 + 6 * index)
                .map(|_| random.below(vocab_size) as Token)
                .collect()
        })
        .collect();
    let other_tables: Vec<_> = others
        .iter()
        .map(|tokens| runner.table(tokens.len()))
        .collect();
    let table = runner.table(CONTEXT + 64);
    for start in (0..CONTEXT - 1).step_by(chunk) {
        let end = (start + chunk).min(CONTEXT - 1);
        runner.forward(&[SequenceRows {
            context_len: CONTEXT - 1,
            ..committed(&table, &case.tokens, start, end)
        }]);
    }
    let tree = SequenceRows {
        draft_tokens: &case.draft_tokens,
        ancestors: &case.ancestors,
        ..committed(&table, &case.tokens, CONTEXT - 1, CONTEXT)
    };
    let whole =
        |index: usize| committed(&other_tables[index], &others[index], 0, others[index].len());
    let before = (0..strangers).map(whole);
    let behind = (strangers..2 * strangers).map(whole);
    let batch: Vec<SequenceRows<'_>> = before.chain([tree]).chain(behind).collect();
    let logits = runner.forward(&batch);
    let nodes = case.draft_tokens.len() + 1;
    logits
        .into_iter()
        .skip(strangers)
        .take(nodes)
        .map(bits)
        .collect()
}

fn check(name: &str, model: &LoadedModel) {
    let case = Case::new(model.llama.config().vocab_size);
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    let reference = pool(1).install(|| case.reference(model));
    for (chunk, strangers, threads) in [
        (100, 0, 1),
        (100, 0, 2),
        (7, 0, 1),
        (1, 2, 2),
        (7, 3, 2),
        (16, 5, 1),
    ] {
        let got = pool(threads).install(|| in_a_tree(model, &case, chunk, strangers));
        for (node, (got, want)) in got.iter().zip(&reference).enumerate() {
            assert!(
                got == want,
                "{name}: node {node} with chunks of {chunk}, {strangers} strangers a side, {threads} threads"
            );
        }
    }
}

/// Every kind of number that a model is computed in.
fn options() -> [LoadOptions; 4] {
    let options = |dtype, quantization| LoadOptions {
        dtype,
        quantization,
        ..LoadOptions::default()
    };
    [
        options(Dtype::Float32, None),
        options(Dtype::Bfloat16, None),
        options(Dtype::Float32, Some(Quantization::Int8)),
        options(Dtype::Bfloat16, Some(Quantization::Int8)),
    ]
}

#[test]
fn the_carried_models_bits_depend_on_the_row_alone() {
    for options in options() {
        check("demo", &load_with(&demo(), options));
    }
}

#[test]
fn small_and_odd_models_bits_depend_on_the_row_alone() {
    for options in options() {
        check("stories260K", &load_with(&stories(), options));
        let directory = tempfile::tempdir().unwrap();
        let config = tiny_config(
            &json!({"hidden_size": 36, "intermediate_size": 53, "num_attention_heads": 2,
            "num_key_value_heads": 1, "vocab_size": 101}),
        );
        let source = write_tiny(directory.path(), &config, 1, candle_core::DType::F32);
        check("odd", &load_with(&source, options));
    }
}
