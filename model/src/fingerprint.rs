//! A short name for a target's weights, by which what was trained for it is known.

use candle_core::{DType, Device, Result, Tensor};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;

/// Rows of the embedding that are read: enough to tell models apart, and nothing to wait for.
const NUM_ROWS: usize = 256;

/// Digests a model's shape, its final norm and rows spread over its embedding, as bfloat16: however the weights are
/// held when it is served, the name stays.
pub(crate) fn fingerprint(config: &Config, norm: &Tensor, embedding: &Tensor) -> Result<String> {
    let mut digest = Xxh3::new();
    digest.update(format!("{config:?}").as_bytes());
    let num_rows = embedding.dim(0)?;
    let step = num_rows.div_ceil(NUM_ROWS) as u32;
    let rows = Tensor::arange_step(0, num_rows as u32, step, embedding.device())?;
    for weights in [norm, &embedding.index_select(&rows, 0)?] {
        let weights = weights.to_device(&Device::Cpu)?.flatten_all()?;
        let weights: Vec<half::bf16> = weights.to_dtype(DType::BF16)?.to_vec1()?;
        for weight in weights {
            digest.update(&weight.to_le_bytes());
        }
    }
    Ok(format!("{:032x}", digest.digest128()))
}
