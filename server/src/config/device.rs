//! `--device`.

use std::fmt;
use std::str::FromStr;

/// Where the model computes, as asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DeviceChoice {
    /// On the first GPU, if there is one that this binary can use, else on the CPU.
    Auto,
    /// On the CPU.
    Cpu,
    /// On the GPU of this number, counted from 0, and nowhere else.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ordinal = match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            text => text.strip_prefix("cuda:"),
        };
        // `parse` would take a sign.
        let digits = ordinal.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let ordinal = digits.and_then(|text| text.parse().ok());
        ordinal
            .map(Self::Cuda)
            .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".to_owned())
    }
}

/// As it is asked for.
impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// A share of a whole, above 0.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0 and up to 1, such as 0.9".to_owned()),
    }
}
