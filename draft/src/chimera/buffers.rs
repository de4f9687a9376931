//! The buffers that a level's forward writes, kept from level to level.

use candle_core::{DType, Device, Result, Tensor};
use foretoken_model::{LogitRows, Logits};

use super::config::ChimeraConfig;

/// Room for rows of one width; it grows to the most that were asked for.
#[derive(Debug)]
pub(super) struct Buffer(Tensor);

impl Buffer {
    fn new(width: usize, dtype: DType, device: &Device) -> Result<Self> {
        Ok(Self(Tensor::zeros((1, width), dtype, device)?))
    }

    /// Exactly `num_rows` rows, of any content.
    pub(super) fn rows(&mut self, num_rows: usize) -> Result<Tensor> {
        let (capacity, width) = self.0.dims2()?;
        if num_rows > capacity {
            let shape = (num_rows.next_power_of_two(), width);
            self.0 = Tensor::zeros(shape, self.0.dtype(), self.0.device())?;
        }
        self.0.narrow(0, 0, num_rows)
    }

    /// What was written there last, if that is float32.
    pub(super) fn read(&self, num_rows: usize) -> Result<LogitRows<'_>> {
        Logits::new(&self.0, num_rows)?.read_all()
    }
}

/// One for each op's results. `[rows, ..]` each
#[derive(Debug)]
pub(super) struct Buffers {
    /// The residual stream. `[rows, hidden]`
    pub(super) x: Buffer,
    /// The stream, or the target's hidden rows, normed. `[rows, hidden]`
    pub(super) normed: Buffer,
    /// What a block adds to the stream. `[rows, hidden]`
    pub(super) added: Buffer,
    /// Activated sums of a trigram's parts. `[rows, trigram]`
    pub(super) trigram: Buffer,
    /// Keys and values of what the target has computed. `[rows, 2 * kv_width]`
    pub(super) context_kv: Buffer,
    /// Queries, keys and values. `[rows, q_width + 2 * kv_width]`
    pub(super) qkv: Buffer,
    /// Values mixed by attention. `[rows, q_width]`
    pub(super) mixed: Buffer,
    /// `[rows, 2 * intermediate]`
    pub(super) gate_up: Buffer,
    /// `[rows, intermediate]`
    pub(super) gated: Buffer,
    /// The target's state, then the stream. `[rows, 2 * hidden]`
    pub(super) joined: Buffer,
    /// `[rows, draft vocab]`, float32
    pub(super) logits: Buffer,
}

impl Buffers {
    pub(super) fn new(config: &ChimeraConfig, dtype: DType, device: &Device) -> Result<Self> {
        let hidden = config.hidden_size;
        let (q, kv) = (config.q_width(), config.kv_width());
        let buffer = |width| Buffer::new(width, dtype, device);
        Ok(Self {
            x: buffer(hidden)?,
            normed: buffer(hidden)?,
            added: buffer(hidden)?,
            trigram: buffer(config.trigram_size)?,
            context_kv: buffer(2 * kv)?,
            qkv: buffer(q + 2 * kv)?,
            mixed: buffer(q)?,
            gate_up: buffer(2 * config.intermediate_size)?,
            gated: buffer(config.intermediate_size)?,
            joined: buffer(2 * hidden)?,
            logits: Buffer::new(config.num_draft_tokens(), DType::F32, device)?,
        })
    }

    /// Makes room for so many rows in all of them.
    pub(super) fn reserve(&mut self, num_rows: usize) -> Result<()> {
        let mut all = self.all().into_iter();
        all.try_for_each(|buffer| buffer.rows(num_rows).map(drop))
    }

    fn all(&mut self) -> [&mut Buffer; 11] {
        [
            &mut self.x,
            &mut self.normed,
            &mut self.added,
            &mut self.trigram,
            &mut self.context_kv,
            &mut self.qkv,
            &mut self.mixed,
            &mut self.gate_up,
            &mut self.gated,
            &mut self.joined,
            &mut self.logits,
        ]
    }

    /// Bytes that a row takes in all of them.
    pub(super) fn row_bytes(config: &ChimeraConfig, dtype: DType) -> usize {
        let hidden = 5 * config.hidden_size + config.trigram_size;
        let attention = 2 * config.q_width() + 4 * config.kv_width();
        let elements = hidden + attention + 3 * config.intermediate_size;
        elements * dtype.size_in_bytes() + config.num_draft_tokens() * size_of::<f32>()
    }
}

#[cfg(test)]
impl Buffers {
    /// Bytes that are taken.
    pub(super) fn num_bytes(&mut self) -> usize {
        let bytes = |buffer: &mut Buffer| buffer.0.elem_count() * buffer.0.dtype().size_in_bytes();
        self.all().into_iter().map(bytes).sum()
    }
}
