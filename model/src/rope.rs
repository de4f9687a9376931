//! Rotary position embedding: its settings, and the frequencies that follow from them.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{CONFIG, LoadError};

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// Stretching for long contexts.
    pub scaling: Option<Llama3Scaling>,
}

/// Llama 3's frequency-dependent stretching (`rope_type: "llama3"`).
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Llama3Scaling {
    /// Divides frequencies whose wavelength is long.
    pub factor: f32,
    /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are stretched in full.
    pub low_freq_factor: f32,
    /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are left alone.
    pub high_freq_factor: f32,
    /// Context length before stretching.
    pub original_max_position_embeddings: f32,
}

impl Rope {
    /// `rope_scaling` is where the settings lie up to transformers 4, `rope_parameters` from 5 on.
    pub(crate) fn read(
        theta: Option<f32>,
        scaling: Option<Map<String, Value>>,
        parameters: Option<Map<String, Value>>,
    ) -> Result<Self, LoadError> {
        let (field, settings) = match (parameters, scaling) {
            (Some(parameters), None) => ("rope_parameters", parameters),
            (None, scaling) => ("rope_scaling", scaling.unwrap_or_default()),
            (Some(_), Some(scaling)) => {
                let found = Value::Object(scaling);
                return Err(LoadError::unsupported(
                    "rope_scaling",
                    found,
                    "null beside rope_parameters",
                ));
            }
        };
        let inner = settings
            .get("rope_theta")
            .and_then(Value::as_f64)
            .map(|theta| theta as f32);
        let theta = inner.or(theta).unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(LoadError::unsupported("rope_theta", theta, "above 0"));
        }
        let kind = settings.get("rope_type").or_else(|| settings.get("type"));
        let (scaling, known) = match kind.map(|kind| kind.as_str().unwrap_or_default()) {
            None | Some("default") => (None, &ROPE_FIELDS[..3]),
            Some("llama3") => (Some(llama3(field, &settings)?), &ROPE_FIELDS[..]),
            Some(_) => {
                let found = kind.map(Value::to_string).unwrap_or_default();
                return Err(LoadError::unsupported(
                    &format!("{field}.rope_type"),
                    found,
                    "default or llama3",
                ));
            }
        };
        // A setting that is not used would have changed the angles.
        let neutral = |value: &Value| value.is_null() || value.as_f64() == Some(1.0);
        if let Some((name, value)) = settings
            .iter()
            .find(|(name, value)| !known.contains(&name.as_str()) && !neutral(value))
        {
            return Err(LoadError::unsupported(
                &format!("{field}.{name}"),
                value,
                "no such setting for this rope_type",
            ));
        }
        Ok(Self { theta, scaling })
    }

    /// Rotary frequencies of one head, stretched as Llama 3 does where asked.
    pub(crate) fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = (0..head_dim)
            .step_by(2)
            .map(|i| 1.0 / self.theta.powf(i as f32 / head_dim as f32));
        let Some(scaling) = &self.scaling else {
            return plain.collect();
        };
        let longest = scaling.original_max_position_embeddings / scaling.low_freq_factor;
        let shortest = scaling.original_max_position_embeddings / scaling.high_freq_factor;
        let stretch = |frequency: f32| {
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength < shortest {
                return frequency;
            }
            if wavelength > longest {
                return frequency / scaling.factor;
            }
            let smooth = (scaling.original_max_position_embeddings / wavelength
                - scaling.low_freq_factor)
                / (scaling.high_freq_factor - scaling.low_freq_factor);
            (1.0 - smooth) * frequency / scaling.factor + smooth * frequency
        };
        plain.map(stretch).collect()
    }
}

/// Settings that are read: always, then for llama3.
const ROPE_FIELDS: [&str; 7] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
];

fn llama3(field: &str, settings: &Map<String, Value>) -> Result<Llama3Scaling, LoadError> {
    let scaling: Llama3Scaling = serde_json::from_value(Value::Object(settings.clone()))
        .map_err(|error| LoadError::malformed(CONFIG, format!("{field}: {error}")))?;
    let positive = [
        ("factor", scaling.factor),
        ("low_freq_factor", scaling.low_freq_factor),
        ("high_freq_factor", scaling.high_freq_factor),
        (
            "original_max_position_embeddings",
            scaling.original_max_position_embeddings,
        ),
    ];
    for (name, value) in positive {
        if !(value.is_finite() && value > 0.0) {
            return Err(LoadError::unsupported(
                &format!("{field}.{name}"),
                value,
                "above 0",
            ));
        }
    }
    if scaling.high_freq_factor <= scaling.low_freq_factor {
        let expected = format!(
            "above low_freq_factor, which is {}",
            scaling.low_freq_factor
        );
        return Err(LoadError::unsupported(
            &format!("{field}.high_freq_factor"),
            scaling.high_freq_factor,
            expected,
        ));
    }
    Ok(scaling)
}
