//! Tensors by name out of one safetensors file or many, each checked for shape and type.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::Token;
use crate::error::LoadError;
use crate::source::{FileBytes, ModelSource};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The mapped safetensors files of a model.
#[derive(Debug)]
pub struct Shards(Vec<(String, FileBytes)>);

impl Shards {
    /// Maps `model.safetensors`, or the files that its index names.
    pub fn open(source: &ModelSource) -> Result<Self, LoadError> {
        let names: BTreeSet<String> = match source.find(INDEX)? {
            None => [SINGLE.to_owned()].into(),
            Some(json) => {
                let index: Index = serde_json::from_slice(&json)
                    .map_err(|error| LoadError::malformed(INDEX, error))?;
                index.weight_map.into_values().collect()
            }
        };
        let open = |name: String| {
            // An index may only name files that lie beside it.
            if name.contains(['/', '\\']) {
                return Err(LoadError::malformed(
                    INDEX,
                    format!("names `{name}`, expected a file of this folder"),
                ));
            }
            let bytes = source.read(&name)?;
            Ok((name, bytes))
        };
        names
            .into_iter()
            .map(open)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reads what tensors there are.
    pub fn checkpoint(&self) -> Result<Checkpoint<'_>, LoadError> {
        let parse = |(name, bytes)| parse(name, bytes);
        let shards = self
            .0
            .iter()
            .map(|(name, bytes)| parse((name, bytes)))
            .collect::<Result<_, _>>()?;
        Ok(Checkpoint {
            shards,
            taken: RefCell::default(),
        })
    }
}

fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<SafeTensors<'a>, LoadError> {
    SafeTensors::deserialize(bytes).map_err(|error| LoadError::malformed(name, error))
}

/// A model's tensors, remembered as they are taken, so that what is left over can be refused.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    shards: Vec<SafeTensors<'a>>,
    taken: RefCell<BTreeSet<String>>,
}

impl Checkpoint<'_> {
    /// The type that a tensor is stored in.
    pub(crate) fn stored_dtype(&self, name: &str) -> Option<DType> {
        let view = self
            .shards
            .iter()
            .find_map(|shard| shard.tensor(name).ok())?;
        dtype(view.dtype())
    }

    /// A tensor, converted to `dtype`.
    pub fn take(
        &self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor, LoadError> {
        let view = self.view(name, shape)?;
        let stored = self::dtype(view.dtype())
            .ok_or_else(|| wrong_dtype(name, &view, "F32, F16 or BF16"))?;
        Ok(Tensor::from_raw_buffer(view.data(), stored, shape, device)?.to_dtype(dtype)?)
    }

    /// A list of token ids.
    pub fn take_tokens(&self, name: &str, len: usize) -> Result<Vec<Token>, LoadError> {
        let view = self.view(name, &[len])?;
        if view.dtype() != safetensors::Dtype::U32 {
            return Err(wrong_dtype(name, &view, "U32"));
        }
        let (ids, _) = view.data().as_chunks();
        Ok(ids.iter().map(|&id| Token::from_le_bytes(id)).collect())
    }

    /// A tensor as it is stored, which is taken by that.
    fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, LoadError> {
        let Some(view) = self.shards.iter().find_map(|shard| shard.tensor(name).ok()) else {
            return Err(LoadError::MissingTensor {
                name: name.to_owned(),
                expected: shape.to_vec(),
            });
        };
        if view.shape() != shape {
            return Err(LoadError::WrongShape {
                name: name.to_owned(),
                found: view.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        self.taken.borrow_mut().insert(name.to_owned());
        Ok(view)
    }

    /// Refuses tensors that nobody took, but for those named in `harmless`.
    pub fn finish(self, harmless: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let taken = self.taken.into_inner();
        let mut names = self.shards.iter().flat_map(SafeTensors::names);
        match names.find(|name| !taken.contains(*name) && !harmless(name)) {
            Some(name) => Err(LoadError::UnexpectedTensor {
                name: name.to_string(),
            }),
            None => Ok(()),
        }
    }
}

fn wrong_dtype(name: &str, view: &TensorView<'_>, expected: &'static str) -> LoadError {
    LoadError::WrongDtype {
        name: name.to_owned(),
        found: format!("{:?}", view.dtype()),
        expected,
    }
}

fn dtype(stored: safetensors::Dtype) -> Option<DType> {
    match stored {
        safetensors::Dtype::F32 => Some(DType::F32),
        safetensors::Dtype::F16 => Some(DType::F16),
        safetensors::Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}
