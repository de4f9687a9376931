//! Drafter `auto`: what the training-free drafters know, in one tree.

use candle_core::Result;
use foretoken_model::SeqId;

use crate::drafter::{Context, Drafter, Finished};
use crate::lookup::Lookup;
use crate::maker::Maker;
use crate::mixture::Mixture;
use crate::ranking::Ranking;
use crate::tree::DraftTree;
use crate::trigram::Trigram;

const NAME: &str = "auto";

/// Mixes
#[derive(Debug)]
pub struct Auto {
    lookup: Lookup,
    trigram: Trigram,
    mixture: Mixture,
    maker: Maker,
}

impl Auto {
    /// Out of these.
    pub fn new(lookup: Lookup, trigram: Trigram) -> Self {
        Self {
            lookup,
            trigram,
            mixture: Mixture::default(),
            maker: Maker::default(),
        }
    }

    fn draft(&mut self, context: &Context<'_>) -> DraftTree {
        let mut matches = self.lookup.matches(context);
        let sources = self.trigram.sources(context);
        let ranking = Ranking::new(context.sampling);
        let mixture = &mut self.mixture;
        self.maker.make(context, |tree, node, least, guesses| {
            mixture.clear();
            matches.guess(tree, node, mixture);
            sources.guess(tree, node, ranking.least_own(least), mixture);
            let position = context.tokens.len() + tree.depth(node);
            ranking.rank(mixture.successors(), position, least, guesses);
        })
    }
}

impl Drafter for Auto {
    fn name(&self) -> &'static str {
        NAME
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        Ok(contexts.iter().map(|context| self.draft(context)).collect())
    }

    fn finished(&mut self, finished: &Finished<'_>) {
        self.lookup.finished(finished);
    }

    fn forget(&mut self, seq: SeqId) {
        self.lookup.forget(seq);
        self.trigram.forget(seq);
    }
}
