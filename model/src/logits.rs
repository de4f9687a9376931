//! The scores that a forward gives, and how the host comes to read them.

use std::ops::Range;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor};
use parking_lot::RwLockReadGuard;

/// Scores of every token, row by row, in float32, where they were computed.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    buffer: &'a Tensor, // [at least num_rows, vocab], contiguous
    num_rows: usize,
    vocab_size: usize,
}

impl<'a> Logits<'a> {
    /// The first rows of a buffer. `[at least num_rows, vocab]`, float32
    pub fn new(buffer: &'a Tensor, num_rows: usize) -> Result<Self> {
        let (_, vocab_size) = buffer.dims2()?;
        Ok(Self {
            buffer,
            num_rows,
            vocab_size,
        })
    }

    /// All of them, where they were computed. `[rows, vocab]`
    pub fn tensor(&self) -> Result<Tensor> {
        self.buffer.narrow(0, 0, self.num_rows)
    }

    /// Brings rows to the host: at no price from a CPU, in one copy from another device.
    pub fn read(&self, rows: Range<usize>) -> Result<LogitRows<'a>> {
        let num_rows = rows.len();
        let place = match (self.buffer.device(), num_rows) {
            (Device::Cpu, _) => Place::There(self.buffer.storage_and_layout().0, rows.start),
            (_, 0) => Place::Copied(Vec::new()),
            _ => {
                let rows = self.buffer.narrow(0, rows.start, num_rows)?;
                Place::Copied(rows.flatten_all()?.to_vec1()?)
            }
        };
        Ok(LogitRows {
            place,
            num_rows,
            vocab_size: self.vocab_size,
        })
    }

    /// The same of all rows.
    pub fn read_all(&self) -> Result<LogitRows<'a>> {
        self.read(0..self.num_rows)
    }
}

/// Rows of scores that the host reads.
#[derive(Debug)]
pub struct LogitRows<'a> {
    place: Place<'a>,
    num_rows: usize,
    vocab_size: usize,
}

#[derive(Debug)]
enum Place<'a> {
    /// In the buffer that the CPU wrote, from a row on.
    There(RwLockReadGuard<'a, Storage>, usize),
    /// In a copy of what another device wrote.
    Copied(Vec<f32>),
}

impl LogitRows<'_> {
    /// Rows that were read.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// All that were read. `[rows][vocab]`
    pub fn rows(&self) -> Vec<&[f32]> {
        (0..self.num_rows).map(|row| self.row(row)).collect()
    }

    /// One row's, counted from the first that was read. `[vocab]`
    pub fn row(&self, row: usize) -> &[f32] {
        let (scores, row) = match &self.place {
            Place::Copied(scores) => (scores, row),
            Place::There(storage, first) => match &**storage {
                Storage::Cpu(CpuStorage::F32(scores)) => (scores, first + row),
                _ => return &[],
            },
        };
        &scores[row * self.vocab_size..][..self.vocab_size]
    }
}
