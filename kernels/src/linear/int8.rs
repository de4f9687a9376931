//! Eight-bit weights and rows: scales, rounding, and what makes numbers of whole sums.

#![expect(
    unsafe_code,
    reason = "threads write disjoint rows; numbers known to be small become whole without a check"
)]

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};

use super::PANEL;
use super::weight::{Filled, Kept, Weight};
use crate::on_device::OnDevice;
use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows};
use crate::simd::{Kernel, Vector, dispatch};

/// Largest whole number that a weight or an input is rounded to.
const LARGEST: f32 = 127.0;

/// Inputs whose products a 32-bit sum holds for certain: 255 * 127 * 65,536 < 2^31.
const MOST_INPUTS: usize = 65_536;

/// What an int8 matrix's outputs are scaled by. Filled up to whole panels.
#[derive(Clone, Debug)]
pub(crate) struct Scales {
    scales: Arc<[f32]>,
    /// Sums of each output's weights, which undo a bias of the inputs.
    sums: Arc<[i32]>,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "a GPU's business"))]
    on_device: OnDevice,
}

/// What makes results of the sums of one product.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    scales: &'a Scales,
    row_scales: &'a [f32],
}

/// Rounds the matrix's rows. Gives its bytes, `[out, in]`, and their scales.
pub(crate) fn quantize(weight: &Tensor) -> Result<(Tensor, Scales)> {
    let (num_outputs, num_inputs) = weight.dims2()?;
    if num_inputs > MOST_INPUTS {
        bail!(
            "int8 products are exact up to {MOST_INPUTS} inputs, and these weights have {num_inputs}"
        );
    }
    let weights: Vec<f32> = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let num_padded = num_outputs.next_multiple_of(PANEL);
    let (mut scales, mut sums) = (vec![0.0; num_padded], vec![0; num_padded]);
    let mut bytes = Vec::with_capacity(weights.len());
    for (output, row) in weights.chunks_exact(num_inputs.max(1)).enumerate() {
        let scale = scale(row);
        let steps = steps_per_unit(scale);
        scales[output] = scale;
        let start = bytes.len();
        bytes.extend(row.iter().map(|&value| round(value, steps) as u8));
        sums[output] = bytes[start..]
            .iter()
            .map(|&byte| i32::from(byte as i8))
            .sum();
    }
    let bytes = Tensor::from_vec(bytes, (num_outputs, num_inputs), weight.device())?;
    let scales = Scales {
        scales: scales.into(),
        sums: sums.into(),
        on_device: OnDevice::default(),
    };
    Ok((bytes, scales))
}

impl Scales {
    pub(crate) fn of_output(&self, output: usize) -> f32 {
        self.scales[output]
    }

    /// Where the scales lie on the device, for as long as they live here. `[panels * PANEL]`, float32
    #[cfg(feature = "cuda")]
    pub(crate) fn address(&self, device: &candle_core::CudaDevice) -> Result<u64> {
        let bits = || self.scales.iter().map(|scale| scale.to_bits()).collect();
        crate::cuda::shared(device, &self.on_device, bits)
    }

    pub(crate) fn with_rows<'a>(&'a self, row_scales: &'a [f32]) -> Finish<'a> {
        Finish {
            scales: self,
            row_scales,
        }
    }
}

impl Finish<'_> {
    /// Whole sums of a row's outputs from `first` on, scaled.
    #[inline(always)]
    pub(crate) fn lanes<V: Vector>(
        &self,
        row: usize,
        first: usize,
        sums: [i32; PANEL],
    ) -> [f32; PANEL] {
        let mut lanes = [0.0; PANEL];
        let row_scale = self.row_scales[row];
        let scales = &self.scales.scales[first..first + V::LANES];
        let biases = &self.scales.sums[first..first + V::LANES];
        for (((lane, sum), scale), bias) in lanes.iter_mut().zip(sums).zip(scales).zip(biases) {
            let sum = sum - i32::from(V::BIAS) * bias;
            *lane = sum as f32 * (row_scale * scale);
        }
        lanes
    }
}

/// The step between whole numbers for a row of these values; what is not finite is left out.
#[inline(always)]
fn scale<T: Element>(row: &[T]) -> f32 {
    // Bits of magnitudes rise as the magnitudes do, and whole numbers have a largest one that vectors can find.
    let mut largest = 0;
    for value in row {
        let size = value.widen().to_bits() & 0x7fff_ffff;
        largest = largest.max(if size < f32::INFINITY.to_bits() {
            size
        } else {
            0
        });
    }
    f32::from_bits(largest) / LARGEST
}

/// Steps in one unit. A scale of 0 says that all values are 0, or so small that they count as it.
#[inline(always)]
fn steps_per_unit(scale: f32) -> f32 {
    let steps = 1.0 / scale;
    if steps < f32::INFINITY { steps } else { 0.0 }
}

/// The nearest whole number of steps, of two equally near ones the even; not a number is 0.
#[inline(always)]
fn round(value: f32, steps_per_unit: f32) -> i8 {
    // Adding and taking away 1.5 * 2^23 rounds. A comparison with what is not a number is false.
    const ROUND: f32 = 12_582_912.0;
    let steps = value * steps_per_unit;
    let low = if steps > -LARGEST { steps } else { -LARGEST };
    let clamped = if low < LARGEST { low } else { LARGEST };
    let whole = (clamped + ROUND) - ROUND;
    let whole = if value.is_nan() { 0.0 } else { whole };
    // SAFETY: between -127 and 127.
    unsafe { whole.to_int_unchecked::<i32>() as i8 }
}

thread_local! {
    static BYTES: Cell<Vec<i8>> = const { Cell::new(Vec::new()) };
    static ROW_SCALES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Rounds rows for one product.
pub(crate) struct Int8Rows<'a, T> {
    x: Rows<'a, T>,
    width: usize,
    rows: Range<usize>,
    bytes: &'a Disjoint<i8>,
    scales: &'a Disjoint<f32>,
}

impl<T: Element> Int8Rows<'_, T> {
    /// Runs `work` on the rounded rows and their scales.
    pub(crate) fn with<R>(x: Rows<'_, T>, work: impl FnOnce(Filled<'_, i8>, &[f32]) -> R) -> R {
        let width = x.width.next_multiple_of(i8::FILL);
        Kept(&BYTES).with(x.num_rows * width, |bytes| {
            Kept(&ROW_SCALES).with(x.num_rows, |scales| {
                let (out, out_scales) = (Disjoint::new(bytes), Disjoint::new(scales));
                split(x.num_rows, 1, 8 * x.num_rows * width, |rows| {
                    dispatch(Int8Rows {
                        x,
                        width,
                        rows,
                        bytes: &out,
                        scales: &out_scales,
                    });
                });
                let filled = Filled {
                    data: bytes,
                    stride: width,
                    num_rows: x.num_rows,
                    width,
                };
                work(filled, scales)
            })
        })
    }
}

impl<T: Element> Kernel for Int8Rows<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        for row in self.rows {
            let x = self.x.row(row);
            let scale = scale(x);
            // SAFETY: rows are dealt out to threads without overlap.
            let (bytes, out_scale) = unsafe {
                (
                    self.bytes.write(row * self.width, self.width),
                    self.scales.write(row, 1),
                )
            };
            out_scale[0] = scale;
            let steps = steps_per_unit(scale);
            let (bytes, padding) = bytes.split_at_mut(x.len());
            for (byte, value) in bytes.iter_mut().zip(x) {
                *byte = round(value.widen(), steps) ^ V::BIAS as i8;
            }
            padding.fill(V::BIAS as i8);
        }
    }
}
