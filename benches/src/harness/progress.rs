//! Bars for people who wait.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `len` steps.
pub(crate) fn bar(message: impl Into<String>, len: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} (ends in {eta})")?;
    Ok(ProgressBar::new(len as u64)
        .with_style(style)
        .with_message(message.into()))
}
