//! How the device's product is launched.

use candle_core::{DType, Result, bail};

use crate::launch::Launch;

/// Outputs of a block.
const OUTPUTS: usize = 128;

/// Inputs that a block multiplies.
const SPLIT: usize = 1024;

/// Warps of a block, of 16 outputs each; of the plain kernel, of one output each.
const WARPS: usize = OUTPUTS / 16;

/// Rows of the plain kernel's blocks.
const PLAIN_ROWS: usize = 8;

/// Most rows of a block.
pub(crate) const MOST_ROWS: usize = 64;

/// The kernels' argument. Addresses are the device's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) x: u64,
    pub(crate) w: u64,
    pub(crate) y: u64,
    pub(crate) partials: u64,
    pub(crate) arrived: u64,
    pub(crate) x_stride: i64,
    pub(crate) num_rows: u32,
    pub(crate) num_inputs: u32,
    pub(crate) num_outputs: u32,
    pub(crate) y_is_float: u32,
}

/// A product's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) dtype: DType,
    pub(crate) num_rows: usize,
    pub(crate) num_inputs: usize,
    pub(crate) num_outputs: usize,
    /// Whether rows of inputs begin on multiples of 16 bytes.
    pub(crate) is_aligned: bool,
}

impl Shape {
    /// Tensor cores read 16 bytes at a time. What decides is the same for all rows of a model's matrix.
    fn has_tiles(&self) -> bool {
        self.dtype == DType::BF16 && self.num_inputs.is_multiple_of(8) && self.is_aligned
    }

    /// Parts that the inputs are cut into: a sum for each.
    fn num_splits(&self) -> usize {
        self.num_inputs.div_ceil(SPLIT).max(1)
    }

    /// Rows of a block: as few as will do, as each has the same arithmetic for itself.
    fn block_rows(&self) -> usize {
        let rows = [8, 16, 32, MOST_ROWS];
        let fits = rows.into_iter().find(|&rows| self.num_rows <= rows);
        fits.unwrap_or(MOST_ROWS)
    }

    /// True if blocks do all the inputs.
    fn is_whole(&self) -> bool {
        self.num_rows > MOST_ROWS
    }

    /// Partial sums, in float32.
    pub(crate) fn num_partials(&self) -> usize {
        match self.has_tiles() && !self.is_whole() && self.num_splits() > 1 {
            true => self.num_splits() * self.num_rows * self.num_outputs,
            false => 0,
        }
    }

    /// Tiles of rows and outputs.
    pub(crate) fn num_tiles(&self) -> usize {
        self.num_rows.div_ceil(self.block_rows()) * self.num_outputs.div_ceil(OUTPUTS)
    }

    /// The launch that computes it.
    pub(crate) fn launch(&self) -> Result<Launch> {
        let threads = 32 * WARPS as u32;
        if !self.has_tiles() {
            let kernel = match self.dtype {
                DType::F32 => "linear_float32",
                DType::BF16 => "linear_bfloat16",
                other => bail!("linear: expected float32 or bfloat16, found {other:?}"),
            };
            let blocks = self.num_outputs.div_ceil(WARPS);
            return Ok(Launch {
                kernel,
                grid: [
                    self.num_rows.div_ceil(PLAIN_ROWS) as u32,
                    across(blocks)?,
                    1,
                ],
                threads,
                shared_bytes: 0,
            });
        }
        let rows = self.block_rows();
        let kernel = match rows {
            8 => "linear_8",
            16 => "linear_16",
            32 => "linear_32",
            _ if self.is_whole() => "linear_whole",
            _ => "linear_64",
        };
        let num_splits = match self.is_whole() {
            true => 1,
            false => self.num_splits(),
        };
        Ok(Launch {
            kernel,
            grid: [
                self.num_rows.div_ceil(rows) as u32,
                across(self.num_outputs.div_ceil(OUTPUTS))?,
                num_splits as u32,
            ],
            threads,
            shared_bytes: shared_bytes(rows),
        })
    }
}

/// Blocks along the second axis, of which a launch may have 65,535.
fn across(blocks: usize) -> Result<u32> {
    match u16::try_from(blocks) {
        Ok(blocks) => Ok(blocks.into()),
        Err(_) => bail!("linear: {blocks} blocks of outputs, where a launch has 65535 at most"),
    }
}

/// The size of the kernel's `Shared`.
const fn shared_bytes(rows: usize) -> u32 {
    const STRIDE: usize = 64 + 8;
    let stages = if rows < MOST_ROWS { 4 } else { 3 };
    (stages * (OUTPUTS + rows) * STRIDE * 2 + 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(num_rows: usize, num_inputs: usize, num_outputs: usize) -> Shape {
        Shape {
            dtype: DType::BF16,
            num_rows,
            num_inputs,
            num_outputs,
            is_aligned: true,
        }
    }

    #[test]
    fn blocks_cover_rows_outputs_and_inputs() {
        let cases = [
            (shape(1, 4096, 4096), "linear_8", [1, 32, 4]),
            (shape(8, 4096, 28_672), "linear_8", [1, 224, 4]),
            (shape(9, 14_336, 4096), "linear_16", [1, 32, 14]),
            (shape(33, 64, 1), "linear_64", [1, 1, 1]),
            (shape(512, 4096, 128_256), "linear_whole", [8, 1002, 1]),
            (shape(20, 1025, 100), "linear_bfloat16", [3, 13, 1]),
            (shape(0, 64, 64), "linear_8", [0, 1, 1]),
        ];
        for (shape, kernel, grid) in cases {
            let launch = shape.launch().unwrap();
            assert_eq!((launch.kernel, launch.grid), (kernel, grid));
        }
    }

    #[test]
    fn how_inputs_are_cut_does_not_depend_on_the_rows() {
        for num_inputs in [8, 64, 1024, 1032, 14_336] {
            for num_rows in 1..=MOST_ROWS {
                let launch = shape(num_rows, num_inputs, 300).launch().unwrap();
                assert_eq!(launch.grid[2] as usize, num_inputs.div_ceil(1024));
            }
        }
    }

    #[test]
    fn two_blocks_fit_a_processor_and_one_a_smaller_card() {
        for rows in [8, 16, 32, MOST_ROWS] {
            assert!(2 * (shared_bytes(rows) + 1024) <= 228 << 10);
            assert!(shared_bytes(rows) <= 99 << 10);
        }
    }
}
