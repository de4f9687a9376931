//! AdamW whose state can be saved: moments and the count of updates.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.95;
const EPS: f64 = 1e-8;

/// Gradients by the weights' names.
pub(super) type Gradients = BTreeMap<String, Tensor>;

/// Adam with decoupled weight decay (Loshchilov, Hutter, arXiv 1711.05101).
#[derive(Debug, Default)]
pub(super) struct AdamW {
    /// First and second moments by the weights' names.
    pub(super) moments: BTreeMap<String, [Tensor; 2]>,
    /// Updates so far.
    pub(super) num_updates: u64,
}

impl AdamW {
    /// Moves weights against their gradients.
    pub(super) fn update<'a>(
        &mut self,
        weights: impl Iterator<Item = (&'a str, &'a Var)>,
        gradients: &Gradients,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<()> {
        self.num_updates += 1;
        let unbias = |beta: f64| 1.0 - beta.powf(self.num_updates as f64);
        let (unbias_1, unbias_2) = (unbias(BETA_1), unbias(BETA_2));
        for (name, weight) in weights {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let [first, second] = match self.moments.remove(name) {
                Some(moments) => moments,
                None => [weight.zeros_like()?, weight.zeros_like()?],
            };
            let first = ((first * BETA_1)? + (gradient * (1.0 - BETA_1))?)?;
            let second = ((second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
            let divisor = ((&second / unbias_2)?.sqrt()? + EPS)?;
            let change = ((&first / divisor)? * (learning_rate / unbias_1))?;
            // Norms' weights have one dimension and are not drawn to zero.
            let decay = if weight.rank() > 1 { weight_decay } else { 0.0 };
            let kept = (weight.as_tensor() * (1.0 - learning_rate * decay))?;
            weight.set(&(kept - change)?)?;
            self.moments.insert(name.to_owned(), [first, second]);
        }
        Ok(())
    }
}

/// The gradients' length together; longer ones than `most` are cut to it.
pub(super) fn clip(gradients: &mut Gradients, most: f64) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        sum += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let length = sum.sqrt();
    if length > most {
        for gradient in gradients.values_mut() {
            *gradient = (&*gradient * (most / length))?;
        }
    }
    Ok(length)
}
