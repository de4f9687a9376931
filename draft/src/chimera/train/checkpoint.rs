//! A run's state on disk, from which it goes on as if it had never stopped.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};

use super::files;
use super::optimizer::AdamW;
use super::options::TrainOptions;
use super::parameters::Parameters;

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    /// Passes that are over.
    pub(super) pass: u64,
    /// Examples of this pass that are over.
    pub(super) index: u64,
    /// Tokens of all passes so far.
    pub(super) num_tokens: u64,
}

/// Writes everything that a run needs to go on.
pub(super) fn save(
    path: &Path,
    options: &TrainOptions,
    parameters: &Parameters,
    optimizer: &AdamW,
    place: Place,
) -> Result<()> {
    let device = &Device::Cpu;
    let numbers = [
        place.pass,
        place.index,
        place.num_tokens,
        optimizer.num_updates,
    ];
    let numbers = numbers.map(|number| number as i64);
    let options = serde_json::to_vec(options).map_err(candle_core::Error::wrap)?;
    let num_bytes = options.len();
    let mut tensors = HashMap::from([
        (PLACE.to_owned(), Tensor::new(&numbers, device)?),
        (
            OPTIONS.to_owned(),
            Tensor::from_vec(options, num_bytes, device)?,
        ),
    ]);
    for (name, weight) in parameters.all() {
        tensors.insert(format!("weight.{name}"), weight.as_tensor().clone());
    }
    for (name, [first, second]) in &optimizer.moments {
        tensors.insert(format!("first.{name}"), first.clone());
        tensors.insert(format!("second.{name}"), second.clone());
    }
    files::write(path, &tensors)
}

/// Reads it back.
pub(super) fn load(
    path: &Path,
    options: &TrainOptions,
    parameters: &Parameters,
    optimizer: &mut AdamW,
) -> Result<Place> {
    let device = match parameters.all().next() {
        Some((_, weight)) => weight.device().clone(),
        None => Device::Cpu,
    };
    let tensors = candle_core::safetensors::load(path, &device)?;
    let take = |name: &str| match tensors.get(name) {
        Some(tensor) => Ok(tensor),
        None => bail!("{}: no tensor `{name}`", path.display()),
    };
    let written: TrainOptions = serde_json::from_slice(&take(OPTIONS)?.to_vec1::<u8>()?)
        .map_err(candle_core::Error::wrap)?;
    if written != *options {
        bail!(
            "{}: written with other options, {written:?}, expected {options:?}",
            path.display()
        );
    }
    parameters.set(|name| tensors.get(&format!("weight.{name}")))?;
    for (name, _) in parameters.trained() {
        if tensors.contains_key(&format!("first.{name}")) {
            let first = take(&format!("first.{name}"))?.clone();
            let second = take(&format!("second.{name}"))?.clone();
            optimizer.moments.insert(name.to_owned(), [first, second]);
        }
    }
    let numbers = take(PLACE)?.to_vec1::<i64>()?;
    let [pass, index, num_tokens, num_updates] = numbers[..] else {
        bail!(
            "{}: {} numbers in `{PLACE}`, expected 4",
            path.display(),
            numbers.len()
        );
    };
    optimizer.num_updates = num_updates as u64;
    Ok(Place {
        pass: pass as u64,
        index: index as u64,
        num_tokens: num_tokens as u64,
    })
}

const PLACE: &str = "place";
const OPTIONS: &str = "options";
