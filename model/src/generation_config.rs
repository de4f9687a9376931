//! `generation_config.json`: how a model's authors want it sampled, and where its outputs end.

use serde::Deserialize;

use crate::Token;
use crate::config::OneOrMany;
use crate::error::LoadError;
use crate::sampling_params::SamplingParams;

/// What the file says; every field may be missing, and so may the file.
#[derive(Default, Deserialize)]
pub(crate) struct GenerationConfig {
    eos_token_id: Option<OneOrMany>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

const FILE: &str = "generation_config.json";

impl GenerationConfig {
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, LoadError> {
        let config: Self =
            serde_json::from_slice(json).map_err(|error| LoadError::malformed(FILE, error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), LoadError> {
        let ranges = [
            ("temperature", self.temperature, 0.0, f32::MAX),
            ("top_p", self.top_p, f32::MIN_POSITIVE, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            (
                "repetition_penalty",
                self.repetition_penalty,
                f32::MIN_POSITIVE,
                f32::MAX,
            ),
        ];
        for (field, value, least, most) in ranges {
            if let Some(value) = value
                && !(least..=most).contains(&value)
            {
                let problem = format!("`{field}` is {value}, expected {least} to {most}");
                return Err(LoadError::malformed(FILE, problem));
            }
        }
        Ok(())
    }

    /// Sampling where a request states none. A missing temperature means 1, as in vLLM.
    pub(crate) fn defaults(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(0),
            top_p: self.top_p.unwrap_or(1.0),
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            ..SamplingParams::greedy()
        }
    }

    pub(crate) fn eos_token_ids(self) -> Option<Vec<Token>> {
        self.eos_token_id.map(OneOrMany::into_vec)
    }
}
