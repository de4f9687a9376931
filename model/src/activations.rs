//! The buffers that a forward writes, kept from step to step.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use parking_lot::RwLockReadGuard;

use crate::config::Config;

/// Room for the results of every op of a forward; it grows to the largest step, and layers take turns in it.
#[derive(Debug)]
pub struct Activations {
    dtype: DType,
    device: Device,
    config: Config,
    rows: Option<Rows>,
    logits: Option<Tensor>, // [capacity, vocab], float32
}

/// One forward's buffers. `[rows, ..]` each
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// The residual stream. `[rows, hidden]`
    pub(crate) x: Tensor,
    /// What a block reads: the stream, normed. `[rows, hidden]`
    pub(crate) normed: Tensor,
    /// What a block adds to the stream. `[rows, hidden]`
    pub(crate) added: Tensor,
    /// Queries, keys and values. `[rows, q_width + 2 * kv_width]`
    pub(crate) qkv: Tensor,
    /// The queries among them. `[rows, q_width]`
    pub(crate) q: Tensor,
    /// The keys and values among them, as the cache holds them. `[rows, 2 * kv_width]`
    pub(crate) kv: Tensor,
    /// Values mixed by attention. `[rows, q_width]`
    pub(crate) mixed: Tensor,
    /// `[rows, 2 * intermediate]`
    pub(crate) gate_up: Tensor,
    /// `[rows, intermediate]`
    pub(crate) gated: Tensor,
}

impl Activations {
    /// Empty buffers for a model of this shape.
    pub fn new(config: &Config, dtype: DType, device: &Device) -> Self {
        Self {
            dtype,
            device: device.clone(),
            config: config.clone(),
            rows: None,
            logits: None,
        }
    }

    /// Bytes that a row of a step takes, without its logits.
    pub fn row_bytes(config: &Config, dtype: DType) -> usize {
        let hidden = 3 * config.hidden_size;
        let attention = 2 * config.q_width() + 2 * config.kv_width();
        (hidden + attention + 3 * config.intermediate_size) * dtype.size_in_bytes()
    }

    /// Allocates for steps of up to `num_rows` rows, logits of them all included.
    pub fn reserve(&mut self, num_rows: usize) -> Result<()> {
        self.rows(num_rows)?;
        self.logits(num_rows)?;
        Ok(())
    }

    /// Buffers of exactly `num_rows` rows.
    pub(crate) fn rows(&mut self, num_rows: usize) -> Result<Rows> {
        let capacity = self.rows.as_ref().map_or(0, |rows| rows.x.dims()[0]);
        let rows = match self.rows.take() {
            Some(rows) if num_rows <= capacity => rows,
            _ => self.allocate(num_rows.next_power_of_two())?,
        };
        let view = rows.narrow(num_rows)?;
        self.rows = Some(rows);
        Ok(view)
    }

    fn allocate(&self, num_rows: usize) -> Result<Rows> {
        let (hidden, intermediate) = (self.config.hidden_size, self.config.intermediate_size);
        let (q, kv) = (self.config.q_width(), self.config.kv_width());
        let zeros = |width| Tensor::zeros((num_rows, width), self.dtype, &self.device);
        let qkv = zeros(q + 2 * kv)?;
        Ok(Rows {
            x: zeros(hidden)?,
            normed: zeros(hidden)?,
            added: zeros(hidden)?,
            q: qkv.narrow(1, 0, q)?,
            kv: qkv.narrow(1, q, 2 * kv)?,
            qkv,
            mixed: zeros(q)?,
            gate_up: zeros(2 * intermediate)?,
            gated: zeros(intermediate)?,
        })
    }

    /// Room for the scores of exactly `num_rows` rows. `[num_rows, vocab]`, float32
    pub(crate) fn logits(&mut self, num_rows: usize) -> Result<Tensor> {
        let logits = match self.logits.take() {
            Some(logits) if num_rows <= logits.dims()[0] => logits,
            _ => {
                let shape = (num_rows.next_power_of_two(), self.config.vocab_size);
                Tensor::zeros(shape, DType::F32, &self.device)?
            }
        };
        let view = logits.narrow(0, 0, num_rows)?;
        self.logits = Some(logits);
        Ok(view)
    }

    /// What was written there last, to be read.
    pub(crate) fn read_logits(&self, num_rows: usize) -> Result<Logits<'_>> {
        let Some(logits) = &self.logits else {
            bail!("no logits were computed");
        };
        Logits::read(logits, num_rows)
    }
}

impl Rows {
    fn narrow(&self, num_rows: usize) -> Result<Self> {
        let narrow = |tensor: &Tensor| tensor.narrow(0, 0, num_rows);
        Ok(Self {
            x: narrow(&self.x)?,
            normed: narrow(&self.normed)?,
            added: narrow(&self.added)?,
            qkv: narrow(&self.qkv)?,
            q: narrow(&self.q)?,
            kv: narrow(&self.kv)?,
            mixed: narrow(&self.mixed)?,
            gate_up: narrow(&self.gate_up)?,
            gated: narrow(&self.gated)?,
        })
    }
}

/// Scores of every token, row by row, in float32.
#[derive(Debug)]
pub struct Logits<'a> {
    scores: Scores<'a>, // [rows, vocab]
    num_rows: usize,
    vocab_size: usize,
}

impl<'a> Logits<'a> {
    /// Reads the first rows of a buffer, in place where the CPU wrote it. `[at least num_rows, vocab]`, float32
    pub fn read(logits: &'a Tensor, num_rows: usize) -> Result<Self> {
        let (_, vocab_size) = logits.dims2()?;
        let scores = match (logits.device(), num_rows) {
            (Device::Cpu, _) => Scores::InPlace(logits.storage_and_layout().0),
            (_, 0) => Scores::Copied(Vec::new()),
            _ => Scores::Copied(logits.narrow(0, 0, num_rows)?.flatten_all()?.to_vec1()?),
        };
        Ok(Self {
            scores,
            num_rows,
            vocab_size,
        })
    }
}

impl Logits<'_> {
    /// One row's scores. `[vocab]`
    pub fn row(&self, row: usize) -> &[f32] {
        let scores = match &self.scores {
            Scores::Copied(scores) => scores,
            Scores::InPlace(storage) => match &**storage {
                Storage::Cpu(CpuStorage::F32(scores)) => scores,
                _ => return &[],
            },
        };
        &scores[row * self.vocab_size..][..self.vocab_size]
    }

    /// All rows' scores. `[rows][vocab]`
    pub fn rows(&self) -> Vec<&[f32]> {
        (0..self.num_rows).map(|row| self.row(row)).collect()
    }

    /// Rows of scores.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }
}

/// Where the host reads scores.
#[derive(Debug)]
enum Scores<'a> {
    /// In the buffer that the CPU wrote.
    InPlace(RwLockReadGuard<'a, Storage>),
    /// In a copy of what another device wrote.
    Copied(Vec<f32>),
}
