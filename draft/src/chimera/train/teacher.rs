//! The frozen target: its hidden rows, and what it would say after them.

use candle_core::{DType, Result, Tensor};
use foretoken_model::{Activations, Batch, BlockPool, BlockTable, KvCache, Llama, SequenceRows};

use super::example::Example;
use super::scores::softmax;

/// Slots of a block of the scratch cache.
const BLOCK: usize = 16;

/// The target, and room to run it.
#[derive(Debug)]
pub(super) struct Teacher {
    llama: Llama,
    cache: KvCache,
    activations: Activations,
    num_slots: usize,
    lm_head: Tensor, // [vocab, hidden], float32
}

impl Teacher {
    /// Makes room for examples of so many rows.
    pub(super) fn new(llama: Llama, lm_head: Tensor, num_rows: usize) -> Result<Self> {
        // Every text of an example may leave most of its last block empty.
        let num_slots = BLOCK * num_rows;
        Ok(Self {
            cache: KvCache::new(llama.kv_shape(), num_slots, llama.device())?,
            activations: llama.activations(),
            num_slots,
            lm_head,
            llama,
        })
    }

    /// The target's hidden rows. `[rows, hidden]`, float32
    pub(super) fn hidden(&mut self, example: &Example) -> Result<Tensor> {
        let mut pool = BlockPool::new(self.num_slots / BLOCK, BLOCK);
        let mut batch = Batch::new(BLOCK);
        for text in example.texts() {
            let mut table = BlockTable::default();
            if !pool.grow(&mut table, text.len()) {
                candle_core::bail!("an example of {} rows, too many", example.tokens().len());
            }
            batch.push(SequenceRows {
                table: &table,
                // Beyond the last row: no logits are wanted.
                context_len: text.len(),
                first_node: 1,
                start: 0,
                tokens: &example.tokens()[text.clone()],
                draft_tokens: &[],
                ancestors: &[],
            });
        }
        let output = self
            .llama
            .forward(&batch, &mut self.cache, &mut self.activations)?;
        // The next forward overwrites them.
        output.hidden.to_dtype(DType::F32)?.copy()
    }

    /// What the target says after hidden rows. `[rows, vocab]`, chances
    pub(super) fn chances(&self, hidden: &Tensor) -> Result<Tensor> {
        softmax(hidden.matmul(&self.lm_head.t()?)?)
    }
}
