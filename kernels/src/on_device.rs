//! `OnDevice`: numbers of the host, copied to where a GPU reads them when the first op asks, and kept for the others.

use std::sync::OnceLock;

use candle_core::Tensor;
#[cfg(any(feature = "cuda", test))]
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, bail};

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
        numbers: impl FnOnce() -> Result<Vec<u32>>,
    ) -> Result<&Tensor> {
        if let Some(copy) = self.0.get() {
            return Ok(copy);
        }
        let numbers = numbers()?;
        let len = numbers.len();
        let copy = Tensor::from_vec(numbers, len, device)?;
        Ok(self.0.get_or_init(|| copy))
    }
}

/// Memory for numbers that change from step to step, which stays where it is while they fit: a replayed launch finds
/// them at the address that it was captured with.
#[cfg(any(feature = "cuda", test))]
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<Tensor>); // [capacity]

/// Numbers that there is room for from the beginning, lest it grow often.
#[cfg(any(feature = "cuda", test))]
const LEAST: usize = 1 << 16;

#[cfg(any(feature = "cuda", test))]
impl Kept {
    /// Writes numbers over those of the step before.
    pub(crate) fn write(&mut self, device: &Device, numbers: &[u32]) -> Result<OnDevice> {
        let memory = match self.0.take() {
            Some(memory) if numbers.len() <= memory.elem_count() => memory,
            _ => {
                let capacity = numbers.len().next_power_of_two().max(LEAST);
                Tensor::zeros(capacity, DType::U32, device)?
            }
        };
        memory.inplace_op1(&Overwrite(numbers))?;
        Ok(OnDevice(self.0.insert(memory).clone().into()))
    }
}

#[cfg(any(feature = "cuda", test))]
struct Overwrite<'a>(&'a [u32]);

#[cfg(any(feature = "cuda", test))]
impl InplaceOp1 for Overwrite<'_> {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        match storage {
            CpuStorage::U32(memory) => memory[..self.0.len()].copy_from_slice(self.0),
            _ => bail!("overwrite: memory of another kind of numbers"),
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, _: &Layout) -> Result<()> {
        crate::cuda::overwrite(storage, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(numbers: &OnDevice) -> Vec<u32> {
        let copy = numbers.of(&Device::Cpu, || bail!("there is none"));
        copy.unwrap().to_vec1().unwrap()
    }

    #[test]
    fn numbers_are_copied_once_and_anew_for_a_clone() {
        let numbers = OnDevice::default();
        let read = |numbers: &OnDevice, value| {
            let copy = numbers.of(&Device::Cpu, || Ok(vec![value; 2])).unwrap();
            copy.to_vec1::<u32>().unwrap()
        };
        assert_eq!(read(&numbers, 1), [1, 1]);
        assert_eq!(read(&numbers, 2), [1, 1]);
        assert_eq!(read(&numbers.clone(), 2), [2, 2]);
    }

    #[test]
    fn kept_memory_stays_where_it_is_until_it_is_too_small() {
        let mut kept = Kept::default();
        let mut write = |numbers: &[u32]| kept.write(&Device::Cpu, numbers).unwrap();
        let first = write(&[1, 2, 3]);
        assert_eq!(read(&first)[..4], [1, 2, 3, 0]);
        write(&[4]);
        assert_eq!(read(&first)[..4], [4, 2, 3, 0], "the same memory");
        write(&[5; LEAST]);
        assert_eq!(read(&first), [5; LEAST]);
        let second = write(&[9; LEAST + 1]);
        assert_eq!(read(&second)[..=LEAST], [9; LEAST + 1]);
        assert_eq!(read(&first), [5; LEAST], "what was there lives on");
    }
}
