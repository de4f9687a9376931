//! Files of tensors.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Error, Result, Tensor};

/// Writes tensors by name: all of them, or nothing.
pub(super) fn write(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    // The library's own writing leaves files that nobody but their owner may read.
    let bytes = safetensors::serialize(tensors, None).map_err(Error::wrap)?;
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, bytes)?;
    Ok(fs::rename(unfinished, path)?)
}
