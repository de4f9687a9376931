//! `OnDevice`: numbers of the host, copied to where a GPU reads them when the first op asks, and kept for the others.

use std::sync::OnceLock;

use candle_core::Tensor;
#[cfg(any(feature = "cuda", test))]
use candle_core::{Device, Result};

/// A copy on the device, which is made once. A clone begins without, as its numbers may change before they are used.
#[derive(Debug, Default)]
pub struct OnDevice(
    #[cfg_attr(
        not(any(feature = "cuda", test)),
        expect(dead_code, reason = "a GPU's business")
    )]
    OnceLock<Tensor>,
);

impl Clone for OnDevice {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(any(feature = "cuda", test))]
impl OnDevice {
    /// No copy yet.
    #[cfg(feature = "cuda")]
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The copy; `numbers` is called if there is none yet.
    pub(crate) fn of(
        &self,
        device: &Device,
        numbers: impl FnOnce() -> Vec<u32>,
    ) -> Result<&Tensor> {
        if let Some(copy) = self.0.get() {
            return Ok(copy);
        }
        let numbers = numbers();
        let len = numbers.len();
        let copy = Tensor::from_vec(numbers, len, device)?;
        Ok(self.0.get_or_init(|| copy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_copied_once_and_anew_for_a_clone() {
        let numbers = OnDevice::default();
        let read = |numbers: &OnDevice, value| {
            let copy = numbers.of(&Device::Cpu, || vec![value; 2]).unwrap();
            copy.to_vec1::<u32>().unwrap()
        };
        assert_eq!(read(&numbers, 1), [1, 1]);
        assert_eq!(read(&numbers, 2), [1, 1]);
        assert_eq!(read(&numbers.clone(), 2), [2, 2]);
    }
}
