//! Launches `sample_rows` and `change_logits`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Layout, Result, bail};

use super::{Module, Numbers, Rows, launch, module};
use crate::sampling::launches::{self, Args, ChangeArgs, MOST_TOKENS, Row};
use crate::{LogitChange, RowSampling};

static MODULE: Module = module!("sample_rows");

/// `SampleRows::check` has seen that there is a draw for each row.
pub(crate) fn sample_rows(
    (logits, layout): (&CudaStorage, &Layout),
    rows: &[RowSampling],
) -> Result<CudaStorage> {
    let device = logits.device().clone();
    let logits = Rows::new(logits, layout)?;
    if logits.dtype != DType::F32 || logits.width > MOST_TOKENS {
        bail!(
            "sample_rows: rows of {} {:?}, expected at most {MOST_TOKENS} in float32",
            logits.width,
            logits.dtype
        );
    }
    let words: Vec<u32> = rows.iter().flat_map(|row| Row::from(row).words()).collect();
    let places = Numbers::upload(&device, &words)?;
    // SAFETY: the kernel writes a token for each row.
    let tokens = unsafe { device.alloc::<u32>(rows.len().max(1))? };
    let tokens = CudaStorage::wrap_cuda_slice(tokens, device.clone());
    let args = Args {
        logits: logits.address,
        rows: places.address,
        tokens: super::address(&tokens, &Layout::contiguous(rows.len()))?,
        stride: logits.stride,
        vocab: logits.width as u32,
        unused: 0,
    };
    // SAFETY: there is a place and a token for each row.
    unsafe { launch(&device, &MODULE, launches::sample(rows.len()), args) }?;
    Ok(tokens)
}

/// `ChangeLogits::check` has seen rows and tokens.
pub(crate) fn change_logits(
    (logits, layout): (&mut CudaStorage, &Layout),
    changes: &[LogitChange],
) -> Result<()> {
    let device = logits.device().clone();
    let logits = super::view_mut(logits, layout)?;
    if logits.dtype != DType::F32 {
        bail!("change_logits: logits in {:?}", logits.dtype);
    }
    let words: Vec<u32> = changes.iter().flat_map(LogitChange::words).collect();
    let there = Numbers::upload(&device, &words)?;
    let args = ChangeArgs {
        logits: logits.address,
        changes: there.address,
        stride: logits.stride,
        num_changes: changes.len() as u32,
        unused: 0,
    };
    // SAFETY: every change names a logit.
    unsafe { launch(&device, &MODULE, launches::change(changes.len()), args) }
}
