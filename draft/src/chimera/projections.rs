//! What tokens add to trigrams: products of the embedding's rows, each computed once.

use candle_core::{Result, Tensor};
use foretoken_kernels::{Linear, write_kv};
use foretoken_model::Token;

use super::config::ChimeraConfig;

/// Bytes that are kept, unless one level needs more: all tokens of a small model, those of late of a large one.
const ROOM: usize = 64 << 20;

/// Where a token's projections are, if nowhere.
const ABSENT: u32 = u32::MAX;

/// A table of projections that fills as tokens come.
#[derive(Debug)]
pub(super) struct Projections {
    embedding: Linear, // [vocab, hidden]
    /// What a token adds as a trigram's first, second and third. `[3 * trigram, hidden]`
    parts: Linear,
    hidden_size: usize,
    table: Tensor, // [entries, 3 * trigram]
    /// By token, its entry.
    entries: Vec<u32>,
    num_kept: usize,
}

impl Projections {
    /// An empty table for a drafter of this shape, which holds what `like` holds.
    pub(super) fn new(
        config: &ChimeraConfig,
        embedding: Linear,
        parts: Linear,
        like: &Tensor,
    ) -> Result<Self> {
        let width = 3 * config.trigram_size;
        let num_entries = ROOM / (width * like.dtype().size_in_bytes());
        let shape = (num_entries.clamp(1, config.vocab_size), width);
        Ok(Self {
            embedding,
            parts,
            hidden_size: config.hidden_size,
            table: Tensor::zeros(shape, like.dtype(), like.device())?,
            entries: vec![ABSENT; config.vocab_size],
            num_kept: 0,
        })
    }

    /// The table, in which [`Self::find`] gives places.
    pub(super) fn table(&self) -> &Tensor {
        &self.table
    }

    /// Where the projections of some trigrams' tokens are; those that are not there yet are computed.
    pub(super) fn find(&mut self, trigrams: &[[Token; 3]]) -> Result<Vec<[u32; 3]>> {
        self.make_room(3 * trigrams.len())?;
        let mut missing = Vec::new();
        for &token in trigrams.as_flattened() {
            let entry = &mut self.entries[token as usize];
            if *entry == ABSENT {
                *entry = (self.num_kept + missing.len()) as u32;
                missing.push(token);
            }
        }
        if !missing.is_empty() {
            self.compute(&missing)?;
        }
        let entry = |token: Token| self.entries[token as usize];
        Ok((trigrams.iter())
            .map(|trigram| trigram.map(entry))
            .collect())
    }

    /// Forgets all where another `num_tokens` might not fit.
    fn make_room(&mut self, num_tokens: usize) -> Result<()> {
        let (num_entries, width) = self.table.dims2()?;
        let num_tokens = num_tokens.min(self.entries.len());
        if num_entries == self.entries.len() || self.num_kept + num_tokens <= num_entries {
            return Ok(());
        }
        self.num_kept = 0;
        self.entries.fill(ABSENT);
        if num_tokens > num_entries {
            self.table = self.zeros(num_tokens, width)?;
        }
        Ok(())
    }

    /// Computes the next entries.
    fn compute(&mut self, tokens: &[Token]) -> Result<()> {
        let rows = self.zeros(tokens.len(), self.hidden_size)?;
        let projected = self.zeros(tokens.len(), self.table.dim(1)?)?;
        self.embedding.rows(tokens, &rows)?;
        self.parts.forward(&rows, &projected)?;
        let first = self.num_kept as u32;
        self.num_kept += tokens.len();
        let entries: Vec<u32> = (first..self.num_kept as u32).collect();
        write_kv(&self.table, &projected, &entries)
    }

    fn zeros(&self, num_rows: usize, width: usize) -> Result<Tensor> {
        let shape = (num_rows, width);
        Tensor::zeros(shape, self.table.dtype(), self.table.device())
    }
}
