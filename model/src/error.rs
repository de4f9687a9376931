//! What can be wrong with a model's files.

use candle_core::DType;
use thiserror::Error;

/// Why a model does not load. Each case names the file, field or tensor, and what was expected of it.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file that every model needs is not there.
    #[error("{file}: not found in {place}")]
    MissingFile {
        /// Its name.
        file: String,
        /// The folder that was searched.
        place: String,
    },
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Unreadable {
        /// Its name.
        file: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// A file does not hold what its format says.
    #[error("{file}: {problem}")]
    Malformed {
        /// Its name.
        file: String,
        /// Where and what.
        problem: String,
    },
    /// A field of `config.json` would change the arithmetic in a way that is not implemented.
    #[error("config.json: `{field}` is {found}, expected {expected}")]
    Unsupported {
        /// The field's name.
        field: String,
        /// Its value.
        found: String,
        /// What could be served.
        expected: String,
    },
    /// The checkpoint lacks a tensor.
    #[error("tensor `{name}` is missing, expected {expected:?}")]
    MissingTensor {
        /// Its name.
        name: String,
        /// Its shape by `config.json`.
        expected: Vec<usize>,
    },
    /// A tensor's shape contradicts `config.json`.
    #[error("tensor `{name}` is {found:?}, expected {expected:?}")]
    WrongShape {
        /// Its name.
        name: String,
        /// As the checkpoint has it.
        found: Vec<usize>,
        /// By `config.json`.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that is not read.
    #[error("tensor `{name}` is {found}, expected {expected}")]
    WrongDtype {
        /// Its name.
        name: String,
        /// As the checkpoint has it.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// The checkpoint holds a tensor that this architecture has no place for.
    #[error("tensor `{name}` has no place in a model as config.json describes it")]
    UnexpectedTensor {
        /// Its name.
        name: String,
    },
    /// The tensor library failed.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
}

/// The file that holds a model's shape.
pub(crate) const CONFIG: &str = "config.json";

impl LoadError {
    pub(crate) fn unsupported(
        field: &str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    pub(crate) fn malformed(file: &str, problem: impl ToString) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// What weights, activations and the KV cache are held in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Dtype {
    /// As the checkpoint: bfloat16 where it is stored so, else float32.
    #[default]
    Auto,
    /// Float32 everywhere.
    Float32,
    /// Weights, activations and KV cache rounded to bfloat16; sums in float32.
    Bfloat16,
}

/// What the weights of matrices are rounded to beyond their dtype.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quantization {
    /// Eight bits and a scale for each output; products round their rows likewise.
    Int8,
}

impl Dtype {
    pub(crate) fn resolve(self, stored: DType) -> DType {
        match self {
            Self::Float32 => DType::F32,
            Self::Bfloat16 => DType::BF16,
            // float16's range is bfloat16's part, its precision is not: only float32 holds it exactly.
            Self::Auto if stored == DType::BF16 => DType::BF16,
            Self::Auto => DType::F32,
        }
    }
}
