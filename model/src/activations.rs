//! The buffers that a forward writes, kept from step to step.

use candle_core::{DType, Device, Result, Tensor, bail};
use foretoken_kernels::{Common, Graphs, Paging};

use crate::config::Config;
use crate::logits::Logits;

/// Room for the results of every op of a forward; it grows to the largest step, and layers take turns in it.
#[derive(Debug)]
pub struct Activations {
    dtype: DType,
    device: Device,
    config: Config,
    rows: Option<Rows>,
    logits: Option<Tensor>, // [capacity, vocab], float32
    graphs: Graphs,
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
    /// Empty buffers for a model of this shape, and for what a GPU replays in them.
    pub(crate) fn new(config: &Config, dtype: DType, device: &Device, graphs: Graphs) -> Self {
        Self {
            dtype,
            device: device.clone(),
            config: config.clone(),
            rows: None,
            logits: None,
            graphs,
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

    /// Makes a step in these buffers: by `step`, or by replaying what it launched before, see `Graphs`.
    pub(crate) fn run(
        &mut self,
        rows: &Rows,
        paging: &Paging,
        [cache, angles]: [&Tensor; 2],
        step: impl Fn(&Rows, &Paging) -> Result<()>,
    ) -> Result<()> {
        let Some(buffers) = &self.rows else {
            bail!("a step without buffers");
        };
        let common = Common {
            cache,
            angles,
            rows: &buffers.x,
        };
        self.graphs
            .run(paging, common, |paging| match paging.padding {
                0 => step(rows, paging),
                _ => step(&buffers.narrow(paging.num_rows())?, paging),
            })
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

    /// What was written there last.
    pub(crate) fn written_logits(&self, num_rows: usize) -> Result<Logits<'_>> {
        match &self.logits {
            Some(logits) => Logits::new(logits, num_rows),
            None => bail!("no logits were computed"),
        }
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
