//! `Places`: a number for each row that an op works on, such as the row's position.

use crate::paging::Paging;

/// A number for each row: a slice, or a batch's column, which a GPU is sent once for all ops.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a, T> {
    values: &'a [T],
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "a GPU's business"))]
    paging: Option<&'a Paging>,
}

impl<'a, T> Places<'a, T> {
    /// By row.
    pub(crate) fn values(&self) -> &'a [T] {
        self.values
    }
}

impl<'a, T> From<&'a [T]> for Places<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self {
            values,
            paging: None,
        }
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for Places<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        values.as_slice().into()
    }
}

impl<'a, T> From<&'a Vec<T>> for Places<'a, T> {
    fn from(values: &'a Vec<T>) -> Self {
        values.as_slice().into()
    }
}

/// The rows' positions.
impl<'a> From<&'a Paging> for Places<'a, usize> {
    fn from(paging: &'a Paging) -> Self {
        Self {
            values: &paging.positions,
            paging: Some(paging),
        }
    }
}

/// The slots that the rows are written to.
impl<'a> From<&'a Paging> for Places<'a, u32> {
    fn from(paging: &'a Paging) -> Self {
        Self {
            values: &paging.slots,
            paging: Some(paging),
        }
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::{CudaDevice, Result};

    use super::Places;
    use crate::cuda::Numbers;

    impl Places<'_, usize> {
        /// Positions on the device.
        pub(crate) fn numbers(&self, device: &CudaDevice) -> Result<Numbers> {
            if let Some(paging) = self.paging {
                return Numbers::of_batch(device, paging, 0);
            }
            let values: Vec<u32> = self.values.iter().map(|&value| value as u32).collect();
            Numbers::upload(device, &values)
        }
    }

    impl Places<'_, u32> {
        /// Slots on the device.
        pub(crate) fn numbers(&self, device: &CudaDevice) -> Result<Numbers> {
            match self.paging {
                Some(paging) => Numbers::of_batch(device, paging, paging.num_rows()),
                None => Numbers::upload(device, self.values),
            }
        }
    }
}
