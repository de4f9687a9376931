//! Drafters of random weights for a small target.

mod files;
mod network;
mod trainer;
mod trees;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use foretoken_model::{
    Activations, Batch, BlockPool, BlockTable, Dtype, KvCache, Llama, LoadOptions, LoadedModel,
    ModelSource, SeqId, SequenceRows, Token,
};
use tempfile::TempDir;

use super::{Chimera, ChimeraConfig, ChimeraError, Form};
use crate::drafter::{Drafter, Verified, VerifiedRows};
use crate::grow::Shape;
use crate::tree::{DraftTree, Node};

const BLOCK_SIZE: usize = 4;

/// A TinyStories model that somebody else trained.
fn target(dtype: Dtype) -> Llama {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/stories260K");
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    let source = ModelSource::Directory(directory.into());
    LoadedModel::load(&source, options, &Device::Cpu)
        .unwrap()
        .llama
}

/// Sizes that differ from the target's wherever they may.
fn config(target: &Llama, form: Form, draft_vocab_size: Option<usize>) -> ChimeraConfig {
    let mut config = ChimeraConfig::of_target(target.config(), target.fingerprint(), form, 2);
    config.trigram_size = 24;
    config.num_attention_heads = 6;
    config.num_key_value_heads = 2;
    config.intermediate_size = 40;
    config.draft_vocab_size = draft_vocab_size;
    config
}

/// Arbitrary weights of a size that keeps sums in scale, the same everywhere; every other token is drafted.
fn weights(config: &ChimeraConfig) -> HashMap<String, Tensor> {
    let mut state = 1_u64;
    let mut unit = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1_u64 << 30) as f32 - 1.0
    };
    let weight = |(name, shape): (String, Vec<usize>)| {
        let (offset, scale) = match shape[..] {
            [_] => (1.0, 0.5),
            _ => (0.0, 1.5 / (shape[1] as f32).sqrt()),
        };
        let len = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|_| offset + scale * unit()).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    let mut weights: HashMap<_, _> = config.shapes().into_iter().map(weight).collect();
    if let Some(len) = config.draft_vocab_size {
        let tokens: Vec<Token> = (0..len as Token).map(|index| 2 * index + 1).collect();
        let tokens = Tensor::from_vec(tokens, len, &Device::Cpu).unwrap();
        weights.insert("draft_vocab".to_owned(), tokens);
    }
    weights
}

fn write(directory: &Path, config: &ChimeraConfig, weights: &HashMap<String, Tensor>) {
    let json = serde_json::to_string(config).unwrap();
    std::fs::write(directory.join("config.json"), json).unwrap();
    safetensors::save(weights, directory.join("model.safetensors")).unwrap();
}

fn load(directory: &TempDir, target: &Llama, shape: Shape) -> Result<Chimera, ChimeraError> {
    let source = ModelSource::Directory(directory.path().to_owned());
    Chimera::load(&source, target, shape)
}

fn drafter(target: &Llama, config: &ChimeraConfig, weights: &HashMap<String, Tensor>) -> Chimera {
    let directory = TempDir::new().unwrap();
    write(directory.path(), config, weights);
    load(&directory, target, Shape::Dynamic).unwrap()
}

/// A target with a drafter, and sequences whose blocks lie between each other's.
struct Bench {
    target: Llama,
    chimera: Chimera,
    cache: KvCache,
    activations: Activations,
    sequences: Vec<Vec<Token>>,
    tables: Vec<BlockTable>,
}

impl Bench {
    fn new(target: Llama, mut chimera: Chimera, lens: &[usize]) -> Self {
        let num_blocks = lens.iter().map(|len| len / BLOCK_SIZE + 18).sum();
        let mut pool = BlockPool::new(num_blocks, BLOCK_SIZE);
        let mut tables: Vec<_> = lens.iter().map(|_| BlockTable::default()).collect();
        for num_slots in (0..lens.iter().max().unwrap() + 64).step_by(2 * BLOCK_SIZE) {
            for (table, len) in tables.iter_mut().zip(lens) {
                assert!(pool.grow(table, (num_slots + 2 * BLOCK_SIZE).min(len + 64)));
            }
        }
        let mut cache =
            KvCache::new(target.kv_shape(), num_blocks * BLOCK_SIZE, &Device::Cpu).unwrap();
        chimera.attach(cache.extend(chimera.layers().unwrap()).unwrap());
        let sequence = |(index, &len): (usize, &usize)| {
            let token = |place: usize| (place * place * 31 + place * 7 + index * 97) % 509 + 3;
            (0..len).map(|place| token(place) as Token).collect()
        };
        Self {
            activations: target.activations(),
            sequences: lens.iter().enumerate().map(sequence).collect(),
            target,
            chimera,
            cache,
            tables,
        }
    }

    /// Has the drafter read what waits.
    fn read(&mut self) {
        let Chimera {
            network,
            cache,
            unread,
            ..
        } = &mut self.chimera;
        let layer = cache.as_ref().unwrap().layer(0);
        unread.read(network, layer).unwrap();
    }

    /// Verifies a tree below the last token of a sequence and keeps a path of it, whose last token the bonus token follows.
    fn verify(&mut self, index: usize, tree: &DraftTree, path: &[Node], bonus: Token) {
        let (tokens, table) = (&mut self.sequences[index], &self.tables[index]);
        let context_len = tokens.len() - 1;
        let mut batch = Batch::new(BLOCK_SIZE);
        batch.push(SequenceRows {
            table,
            context_len,
            start: context_len,
            tokens: &tokens[context_len..],
            first_node: 1,
            draft_tokens: &tree.tokens()[1..],
            ancestors: &tree.ancestors()[1..],
        });
        let rows = [VerifiedRows {
            seq: SeqId(index as u64),
            rows: 0..batch.num_rows(),
            last_kept: path[path.len() - 1],
        }];
        let (cache, activations) = (&mut self.cache, &mut self.activations);
        let states = self.target.compute(&batch, cache, activations).unwrap();
        let verified = Verified {
            batch: &batch,
            rows: &rows,
            hidden: &states,
        };
        self.chimera.observe(&verified).unwrap();
        let physical = |slot: usize| table.physical(context_len + slot, BLOCK_SIZE);
        let moves = path.iter().enumerate();
        let moves: Vec<_> = moves
            .map(|(place, &node)| (physical(node), physical(1 + place)))
            .collect();
        self.cache.move_rows(&moves).unwrap();
        tokens.extend(path.iter().map(|&node| tree.tokens()[node]));
        tokens.push(bonus);
    }

    /// Computes all tokens but the last of each sequence, `chunk` at a time, and shows them to the drafter. Gives the
    /// hidden rows by sequence. `[len - 1, hidden]`
    fn prefill(&mut self, chunk: usize) -> Vec<Tensor> {
        let mut hidden = vec![Vec::new(); self.sequences.len()];
        let longest = self
            .sequences
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or_default();
        for start in (0..longest - 1).step_by(chunk) {
            let mut batch = Batch::new(BLOCK_SIZE);
            let mut rows = Vec::new();
            for (index, tokens) in self.sequences.iter().enumerate() {
                let context_len = tokens.len() - 1;
                // Those that are through are computed once more, as all that proposes was in the latest forward.
                let end = (start + chunk).min(context_len);
                let start = start.min(end - 1);
                let first = batch.num_rows();
                batch.push(SequenceRows {
                    table: &self.tables[index],
                    context_len,
                    start,
                    tokens: &tokens[start..end],
                    first_node: 1,
                    draft_tokens: &[],
                    ancestors: &[],
                });
                rows.push(VerifiedRows {
                    seq: SeqId(index as u64),
                    rows: first..batch.num_rows(),
                    last_kept: batch.num_rows() - 1,
                });
            }
            let (cache, activations) = (&mut self.cache, &mut self.activations);
            let states = self.target.compute(&batch, cache, activations).unwrap();
            let verified = Verified {
                batch: &batch,
                rows: &rows,
                hidden: &states,
            };
            self.chimera.observe(&verified).unwrap();
            for (rows, hidden) in rows.iter().zip(&mut hidden) {
                let positions = &batch.paging().positions[rows.rows.clone()];
                let new = positions.iter().zip(rows.rows.clone());
                let new = new.filter(|&(&position, _)| position >= start);
                hidden.extend(new.map(|(_, row)| states.get(row).unwrap().copy().unwrap()));
            }
        }
        let stack = |rows: &Vec<Tensor>| Tensor::stack(rows, 0).unwrap().to_dtype(DType::F32);
        hidden.iter().map(|rows| stack(rows).unwrap()).collect()
    }
}
