//! Work on rows of scores over the vocabulary, in place: these matrices are what training writes most of.

use candle_core::{CpuStorage, D, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use foretoken_kernels::math::exp;
use rayon::prelude::*;

/// Scores to chances, in place on a CPU.
pub(super) fn softmax(scores: Tensor) -> Result<Tensor> {
    if scores.device().is_cpu() {
        scores.inplace_op1(&Softmax)?;
        return Ok(scores);
    }
    candle_nn::ops::softmax(&scores, D::Minus1)
}

/// What scores have to learn, and how wrong they are.
pub(super) struct Errors {
    /// Cross-entropy by row, in nats. `[rows]`
    pub(super) losses: Vec<f32>,
    /// Gradient of the losses' weighted sum by score. `[rows, vocab]`
    pub(super) gradient: Tensor,
}

/// Compares scores with the target's chances, in place on a CPU.
///
/// `scores`: `[rows, vocab]`; `chances`: `[any, vocab]`, of which `index` names each row's; `weights`: `[rows]`.
pub(super) fn cross_entropy(
    scores: Tensor,
    chances: &Tensor,
    index: &[u32],
    weights: &[f32],
) -> Result<Errors> {
    if !scores.device().is_cpu() {
        return plain_cross_entropy(&scores, chances, index, weights);
    }
    let compare = CrossEntropy {
        index,
        weights,
        losses: Default::default(),
    };
    scores.inplace_op2(chances, &compare)?;
    Ok(Errors {
        losses: compare.losses.into_inner().unwrap_or_default(),
        gradient: scores,
    })
}

/// The same out of the library's operations.
fn plain_cross_entropy(
    scores: &Tensor,
    chances: &Tensor,
    index: &[u32],
    weights: &[f32],
) -> Result<Errors> {
    let device = scores.device();
    let chances = chances.index_select(&Tensor::new(index, device)?, 0)?;
    let logs = candle_nn::ops::log_softmax(scores, D::Minus1)?;
    let weights = Tensor::new(weights, device)?.unsqueeze(1)?;
    Ok(Errors {
        losses: (&logs * &chances)?.sum(1)?.neg()?.to_vec1()?,
        gradient: (logs.exp()? - chances)?.broadcast_mul(&weights)?,
    })
}

struct Softmax;

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (scores, width) = rows_mut(scores, layout)?;
        scores.par_chunks_exact_mut(width).for_each(|scores| {
            let (_, sum) = exponentiate(scores);
            scale(scores, sum.recip());
        });
        Ok(())
    }
}

struct CrossEntropy<'a> {
    index: &'a [u32],
    weights: &'a [f32],
    losses: std::sync::Mutex<Vec<f32>>,
}

impl InplaceOp2 for CrossEntropy<'_> {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        scores: &mut CpuStorage,
        layout: &Layout,
        chances: &CpuStorage,
        chances_layout: &Layout,
    ) -> Result<()> {
        let (scores, width) = rows_mut(scores, layout)?;
        let chances = rows(chances, chances_layout)?;
        let losses = scores
            .par_chunks_exact_mut(width)
            .zip(self.index.par_iter().zip(self.weights))
            .map(|(scores, (&row, &weight))| {
                let chances = &chances[row as usize * width..][..width];
                let expected = dot(chances, scores);
                let (most, sum) = exponentiate(scores);
                subtract(scores, weight / sum, chances, weight);
                most + sum.ln() - expected
            })
            .collect();
        if let Ok(mut place) = self.losses.lock() {
            *place = losses;
        }
        Ok(())
    }
}

/// The largest score, and the sum of e to the power of each score less it, which replace the scores.
fn exponentiate(scores: &mut [f32]) -> (f32, f32) {
    let most = largest(scores);
    let mut sums = [0.0; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks {
        for (sum, score) in sums.iter_mut().zip(block) {
            *score = exp(*score - most);
            *sum += *score;
        }
    }
    for score in rest {
        *score = exp(*score - most);
        sums[0] += *score;
    }
    (most, sums.iter().sum())
}

/// Numbers that loops hold side by side, so that they vectorise.
const LANES: usize = 16;

fn largest(values: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (most, value) in most.iter_mut().zip(block) {
            *most = most.max(*value);
        }
    }
    most.iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |most, value| most.max(*value))
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn scale(values: &mut [f32], factor: f32) {
    values.iter_mut().for_each(|value| *value *= factor);
}

/// `values = values * factor - other * other_factor`
fn subtract(values: &mut [f32], factor: f32, other: &[f32], other_factor: f32) {
    for (value, other) in values.iter_mut().zip(other) {
        *value = *value * factor - other * other_factor;
    }
}

/// A contiguous tensor's numbers.
pub(super) fn rows<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values: &[f32] = storage.as_slice()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("rows of scores have to be contiguous"),
    }
}

fn rows_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<(&'a mut [f32], usize)> {
    let CpuStorage::F32(values) = storage else {
        bail!("scores have to be float32");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok((&mut values[start..end], layout.shape().dims2()?.1)),
        None => bail!("rows of scores have to be contiguous"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn in_place_and_plain_are_the_same() {
        let device = &Device::Cpu;
        let scores = Tensor::randn(0f32, 3.0, (5, 37), device).unwrap();
        let chances = softmax(Tensor::randn(0f32, 2.0, (3, 37), device).unwrap()).unwrap();
        let sums: Vec<f32> = chances.sum(1).unwrap().to_vec1().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        let (index, weights) = ([2, 0, 1, 1, 0], [1.0, 0.5, 0.25, 0.0, 2.0]);
        let plain = plain_cross_entropy(&scores, &chances, &index, &weights).unwrap();
        let errors = cross_entropy(scores.copy().unwrap(), &chances, &index, &weights).unwrap();
        for (a, b) in errors.losses.iter().zip(&plain.losses) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let apart = (errors.gradient - plain.gradient).unwrap().abs().unwrap();
        assert!(apart.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    }
}
