//! The served form against the same network in plain dense matrices.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Result, Tensor};
use foretoken_model::{Dtype, Llama, SamplingParams, SeqId, Token};

use super::super::buffers::Buffers;
use super::super::level::Level;
use super::super::{ChimeraConfig, Form};
use super::{Bench, config, drafter, target, weights};
use crate::drafter::{Context, Costs, Hints};
use crate::grow::Frontier;
use crate::tree::{DraftTree, Node};

/// Two dimensions, float32, nothing cached.
struct Dense<'a> {
    config: &'a ChimeraConfig,
    target: &'a Llama,
    weights: &'a HashMap<String, Tensor>,
}

impl Dense<'_> {
    /// `x` times a weight transposed.
    fn times(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        x.matmul(&self.weights[&format!("{name}.weight")].t()?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(mean + self.config.rms_norm_eps)?.sqrt()?)?;
        x.broadcast_mul(&self.weights[&format!("layer.{name}.weight")])
    }

    /// Trigrams, the first token again before the beginning. `[tokens, hidden]`
    fn encode(&self, tokens: &[Token]) -> Result<Tensor> {
        let embedding = self.target.embedding()?;
        let shifted = |by: usize| {
            let tokens: Vec<Token> = (0..tokens.len())
                .map(|place| tokens[place.saturating_sub(by)])
                .collect();
            embedding.index_select(&Tensor::new(tokens, embedding.device())?, 0)
        };
        let first = self.times(&shifted(2)?, "trigram.first")?;
        let second = self.times(&shifted(1)?, "trigram.second")?;
        let third = self.times(&shifted(0)?, "trigram.third")?;
        let sum = ((first + second)? + third)?;
        shifted(0)? + self.times(&sum.silu()?, "trigram.output")?
    }

    /// Heads side by side, turned by their positions from `first` on. `[heads, rows, head_dim]`
    fn turned(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let num_rows = x.dim(0)?;
        let (cos, sin) = self.target.angles();
        let (cos, sin) = (
            cos.narrow(0, first, num_rows)?,
            sin.narrow(0, first, num_rows)?,
        );
        let heads = self.heads(x)?;
        let halves = heads.chunk(2, 2)?;
        let (a, b) = (&halves[0], &halves[1]);
        let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[turned_a, turned_b], 2)
    }

    fn heads(&self, x: &Tensor) -> Result<Tensor> {
        let head_dim = self.config.head_dim;
        let (num_rows, width) = x.dims2()?;
        let heads = x.reshape((num_rows, width / head_dim, head_dim))?;
        heads.transpose(0, 1)?.contiguous()
    }

    /// The logits after the last token of a text whose last `depth + 1` tokens are the root and a branch below it.
    /// `hidden`: `[tokens before the root, hidden]`
    fn logits(&self, tokens: &[Token], depth: usize, hidden: &Tensor) -> Result<Vec<f32>> {
        let context_len = tokens.len() - depth - 1;
        let u = self.encode(tokens)?.narrow(0, context_len, depth + 1)?;
        let (context, drafts) = (
            self.norm(hidden, "context_norm")?,
            self.norm(&u, "attention_norm")?,
        );
        let rows = Tensor::cat(&[&context, &drafts], 0)?;
        let k = self.turned(&self.times(&rows, "layer.k_proj")?, 0)?;
        let v = self.heads(&self.times(&rows, "layer.v_proj")?)?;
        let last = drafts.narrow(0, depth, 1)?;
        let q = self.turned(&self.times(&last, "layer.q_proj")?, tokens.len() - 1)?;
        let group = self.config.num_attention_heads / self.config.num_key_value_heads;
        let shared = |x: &Tensor| {
            let (heads, rows, width) = x.dims3()?;
            let x = x.unsqueeze(1)?.broadcast_as((heads, group, rows, width))?;
            x.reshape((heads * group, rows, width))
        };
        let scores = (q.matmul(&shared(&k)?.t()?)? / (self.config.head_dim as f64).sqrt())?;
        let exp = scores.exp()?;
        let chances = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
        let mixed = chances.matmul(&shared(&v)?)?.flatten_all()?.unsqueeze(0)?;
        let y = (u.narrow(0, depth, 1)? + self.times(&mixed, "layer.o_proj")?)?;
        let m = self.norm(&y, "mlp_norm")?;
        let gated =
            (self.times(&m, "layer.gate_proj")?.silu()? * self.times(&m, "layer.up_proj")?)?;
        let o = (y + self.times(&gated, "layer.down_proj")?)?;
        let h = hidden.narrow(0, context_len - 1, 1)?;
        self.head(&h, &o, depth)?.flatten_all()?.to_vec1()
    }

    fn head(&self, h: &Tensor, o: &Tensor, depth: usize) -> Result<Tensor> {
        let k = depth.min(self.config.num_heads - 1);
        let head = self.times(&Tensor::cat(&[h, o], 1)?, &format!("heads.{k}"))?;
        match self.config.form {
            Form::Faithful => Ok(head),
            Form::Lean => {
                let z = ((h + o)? + head)?;
                let lm_head = self.target.lm_head()?;
                let lm_head = match self.weights.get("draft_vocab") {
                    Some(tokens) => lm_head.index_select(tokens, 0)?,
                    None => lm_head,
                };
                z.matmul(&lm_head.t()?)
            }
        }
    }
}

/// A tree with branches of several lengths: parents and tokens.
const TREE: [(Node, Token); 9] = [
    (0, 11),
    (0, 300),
    (0, 7),
    (1, 11),
    (1, 12),
    (3, 500),
    (5, 4),
    (6, 13),
    (7, 14),
];

#[test]
fn logits_are_those_of_the_dense_network() {
    for (form, draft_vocab_size) in [
        (Form::Lean, None),
        (Form::Lean, Some(100)),
        (Form::Faithful, None),
        (Form::Faithful, Some(33)),
    ] {
        let target = target(Dtype::Float32);
        let config = config(&target, form, draft_vocab_size);
        let weights = weights(&config);
        let chimera = drafter(&target, &config, &weights);
        let mut bench = Bench::new(target, chimera, &[2, 3, 70, 9]);
        for chunk in [512, 5] {
            let hidden = bench.prefill(chunk);
            bench.read();
            let dense = Dense {
                config: &config,
                target: &bench.target,
                weights: &weights,
            };
            for depth in 0..5 {
                let level = level_of(&bench, depth);
                let layers = bench.chimera.cache.as_ref().unwrap().layer(0).clone();
                let logits = bench.chimera.network.compute(&level, &layers).unwrap();
                assert_eq!(level.depth, depth);
                let mut row = 0;
                for (sequence, hidden) in bench.sequences.iter().zip(&hidden) {
                    for branch in branches(depth) {
                        let tokens = [sequence, &branch[..]].concat();
                        let want = dense.logits(&tokens, depth, hidden).unwrap();
                        assert_eq!(logits.row(row).len(), config.num_draft_tokens());
                        for (got, want) in logits.row(row).iter().zip(&want) {
                            let error = (got - want).abs();
                            assert!(error < 1e-4, "{form:?} {depth} {branch:?}: {got} {want}");
                        }
                        row += 1;
                    }
                }
                assert_eq!(row, logits.num_rows());
            }
        }
    }
}

fn tree(root: Token) -> DraftTree {
    let mut tree = DraftTree::new(root);
    for (parent, token) in TREE {
        tree.push(parent, token, 0.5, "test").unwrap();
    }
    tree
}

/// The tokens below the root of every node of that depth.
fn branches(depth: usize) -> Vec<Vec<Token>> {
    let tree = tree(0);
    let branch = |mut node: Node| {
        let mut tokens = Vec::new();
        while node != DraftTree::ROOT {
            tokens.insert(0, tree.tokens()[node]);
            node = tree.parents()[node];
        }
        tokens
    };
    let nodes = (0..tree.num_nodes()).filter(|&node| tree.depth(node) == depth);
    nodes.map(branch).collect()
}

fn level_of(bench: &Bench, depth: usize) -> Level {
    let sampling = SamplingParams::greedy();
    let context = |index: usize| Context {
        seq: SeqId(index as u64),
        tokens: &bench.sequences[index],
        table: &bench.tables[index],
        sampling: &sampling,
        max_draft_tokens: 63,
        max_draft_depth: 63,
        costs: Costs::default(),
        hints: Hints::default(),
    };
    let contexts: Vec<Context<'_>> = (0..bench.sequences.len()).map(context).collect();
    let trees: Vec<DraftTree> = contexts
        .iter()
        .map(|context| tree(context.root()))
        .collect();
    let of_depth = |&node: &Node| trees[0].depth(node) == depth;
    let nodes: Vec<Node> = (0..trees[0].num_nodes()).filter(of_depth).collect();
    let frontier = |(index, (context, tree))| Frontier {
        index,
        context,
        tree,
        nodes: nodes[0]..nodes[nodes.len() - 1] + 1,
    };
    let frontiers: Vec<Frontier<'_>> = contexts
        .iter()
        .zip(&trees)
        .enumerate()
        .map(frontier)
        .collect();
    let latest = bench.chimera.unread.latest();
    let states: Vec<_> = contexts
        .iter()
        .map(|context| latest.find(context))
        .collect();
    Level::new(&frontiers, latest, &states).unwrap()
}

/// What a server reserves memory by.
#[test]
fn buffers_take_as_many_bytes_as_rows_are_said_to() {
    let target = target(Dtype::Float32);
    for (form, draft_vocab) in [(Form::Lean, None), (Form::Faithful, Some(100))] {
        let config = config(&target, form, draft_vocab);
        for dtype in [DType::F32, DType::BF16] {
            let mut buffers = Buffers::new(&config, dtype, &Device::Cpu).unwrap();
            buffers.reserve(64).unwrap();
            let row_bytes = Buffers::row_bytes(&config, dtype);
            assert_eq!(buffers.num_bytes(), 64 * row_bytes);
        }
    }
}
