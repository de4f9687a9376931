//! The weights that are trained.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::options::Ablation;
use crate::chimera::config::{HEADS, head};
use crate::chimera::{ChimeraConfig, Form};

/// Weights by the names of `model.safetensors`.
#[derive(Debug)]
pub(super) struct Parameters {
    weights: BTreeMap<String, Var>,
    ablation: Ablation,
}

impl Parameters {
    /// Begins where the drafter changes nothing but what its block adds.
    pub(super) fn new(
        config: &ChimeraConfig,
        ablation: Ablation,
        lm_head: &Tensor,
        seed: u64,
    ) -> Result<Self> {
        let device = lm_head.device();
        let mut random = StdRng::seed_from_u64(seed);
        let mut weights = BTreeMap::new();
        for (name, shape) in config.shapes() {
            let weight = match shape[..] {
                [width] => Tensor::ones(width, DType::F32, device)?,
                _ if name.starts_with(HEADS) => match config.form {
                    Form::Lean => Tensor::zeros(&shape[..], DType::F32, device)?,
                    Form::Faithful => Tensor::cat(&[lm_head, lm_head], 1)?,
                },
                _ if name == TRIGRAM_OUTPUT || name == ATTENTION_OUTPUT => {
                    Tensor::zeros(&shape[..], DType::F32, device)?
                }
                _ => uniform(&shape, &mut random, device)?,
            };
            weights.insert(name, Var::from_tensor(&weight)?);
        }
        Ok(Self { weights, ablation })
    }

    /// A weight.
    pub(super) fn get(&self, name: &str) -> &Tensor {
        &self.weights[name]
    }

    /// The weight of step k's head.
    pub(super) fn head(&self, k: usize) -> &Tensor {
        self.get(&head(k))
    }

    /// Those that learn, always in the same order.
    pub(super) fn trained(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.weights
            .iter()
            .map(|(name, weight)| (name.as_str(), weight))
            .filter(|(name, _)| !self.is_left_out(name))
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.weights
            .iter()
            .map(|(name, weight)| (name.as_str(), weight))
    }

    /// Weights by name, checked for their shapes.
    pub(super) fn set<'a>(&self, find: impl Fn(&str) -> Option<&'a Tensor>) -> Result<()> {
        for (name, weight) in self.all() {
            match find(name) {
                Some(found) if found.shape() == weight.shape() => {
                    weight.set(&found.to_dtype(DType::F32)?)?;
                }
                Some(found) => bail!(
                    "tensor `{name}` is {:?}, expected {:?}",
                    found.dims(),
                    weight.dims()
                ),
                None => bail!("tensor `{name}` is missing, expected {:?}", weight.dims()),
            }
        }
        Ok(())
    }

    /// Overwrites all matrices with random numbers.
    pub(super) fn randomise(&self, seed: u64) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        for weight in self.weights.values().filter(|weight| weight.rank() == 2) {
            weight.set(&uniform(weight.dims(), &mut random, weight.device())?)?;
        }
        Ok(())
    }

    /// The weights as the served form reads them, which knows no part that is left out.
    pub(super) fn served(&self, config: &ChimeraConfig) -> Result<Vec<(String, Tensor)>> {
        let mut served = Vec::new();
        for (name, weight) in self.all() {
            let mut weight = weight.as_detached_tensor();
            if self.ablation.no_residual && name.starts_with(HEADS) {
                // The half that reads the last row takes away what the served form adds of it.
                let rest = weight.narrow(1, config.hidden_size, config.hidden_size)?;
                let own = match config.form {
                    Form::Lean => {
                        Tensor::eye(config.hidden_size, DType::F32, weight.device())?.neg()?
                    }
                    Form::Faithful => rest.zeros_like()?,
                };
                weight = Tensor::cat(&[own, rest], 1)?;
            }
            served.push((name.to_owned(), weight));
        }
        Ok(served)
    }

    /// A part whose output stays at zero is left out.
    fn is_left_out(&self, name: &str) -> bool {
        self.ablation.no_trigram && name.starts_with("trigram.")
            || self.ablation.no_context && name == ATTENTION_OUTPUT
    }
}

const TRIGRAM_OUTPUT: &str = "trigram.output.weight";
const ATTENTION_OUTPUT: &str = "layer.o_proj.weight";

/// Sums of as many products as the matrix has inputs keep their scale.
fn uniform(shape: &[usize], random: &mut StdRng, device: &Device) -> Result<Tensor> {
    let num_weights = shape.iter().product();
    let bound = (shape[shape.len() - 1] as f32).sqrt().recip();
    let weights: Vec<f32> = (0..num_weights)
        .map(|_| random.random_range(-bound..bound))
        .collect();
    Tensor::from_vec(weights, shape, device)
}
