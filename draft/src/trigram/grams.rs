//! What is known of all texts, which every sequence's own past is mixed with.

use candle_core::{Error, Result};

use super::blend::Sources;
use super::overlay::Overlay;
use super::recent::Recent;
use super::shared::SharedOverlay;
use super::table::StaticTable;
use crate::drafter::{Context, Finished};

/// A corpus's table, and what others were answered.
#[derive(Debug)]
pub(crate) struct Grams {
    pub(super) table: Option<StaticTable>,
    pub(super) shared: Option<SharedOverlay>,
    pub(super) adapts: bool,
}

impl Grams {
    /// Learns what is new of a sequence, and gives what is known of it.
    pub(crate) fn sources<'a>(
        &'a self,
        context: &Context<'a>,
        overlay: &'a mut Overlay,
    ) -> Sources<'a> {
        let mut recent = Recent::default();
        if self.adapts {
            overlay.learn(context.tokens);
            recent = Recent::of(context.tokens);
        }
        let shared = self.shared.as_ref();
        Sources {
            tokens: context.tokens,
            overlay,
            recent,
            shared: shared
                .filter(|_| context.hints.cache_salt.is_none())
                .map(SharedOverlay::rows),
            table: self.table.as_ref(),
        }
    }

    /// Learns what a sequence was answered, if others may be told.
    pub(crate) fn finished(&mut self, finished: &Finished<'_>) {
        if let Some(shared) = &mut self.shared
            && finished.cache_salt.is_none()
        {
            shared.learn(finished.tokens, finished.num_prompt_tokens);
        }
    }

    /// Saves what was learnt.
    pub(crate) fn close(&self) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        shared.save().map_err(Error::wrap)
    }
}
