//! Drafter `auto`: what all training-free drafters know, in one tree.
//!
//! Distributions are mixed at every node before anything is drawn, so that a token that several think of stands once and
//! counts for what all of them say. What follows the longest match in the text comes first, then what follows in the
//! corpus, then tri-grams; each source takes its part of what those before it left. How much that is, is learnt from what
//! came of its guesses, in the sequence and in all.

mod chain;
mod claims;
mod trust;

use candle_core::Result;
use foretoken_model::SeqId;
use rustc_hash::FxHashMap;

use crate::drafter::{Context, Drafter, Finished};
use crate::infini::Infini;
use crate::lookup::Lookup;
use crate::maker::Maker;
use crate::mixture::Mixture;
use crate::ranking::Ranking;
use crate::tree::DraftTree;
use crate::trigram::Trigram;
use chain::Chain;
use claims::Claims;
use trust::{Class, Kind, Trust};

const NAME: &str = "auto";

/// Guesses of a class that a sequence's trust remembers, and all sequences'.
const MEMORY: f32 = 50.0;
const MEMORY_OF_ALL: f32 = 300.0;

/// Mixes what other drafters know.
#[derive(Debug)]
pub struct Auto {
    trigram: Trigram,
    lookup: Lookup,
    infini: Option<Infini>,
    pasts: FxHashMap<SeqId, Past>,
    /// What came of all sequences' guesses: at temperatures above 0, and at 0.
    trusts: [Trust; 2],
    mixture: Mixture,
    maker: Maker,
}

/// What came of a sequence's guesses, and what its latest were.
#[derive(Debug, Default)]
struct Past {
    trust: Trust,
    claims: Claims,
}

impl Auto {
    /// A drafter that knows what these know. The last needs a corpus.
    pub fn new(trigram: Trigram, lookup: Lookup, infini: Option<Infini>) -> Self {
        Self {
            trigram,
            lookup,
            infini,
            pasts: FxHashMap::default(),
            trusts: Default::default(),
            mixture: Mixture::default(),
            maker: Maker::default(),
        }
    }

    fn draft(&mut self, context: &Context<'_>) -> DraftTree {
        let tokens = context.tokens;
        let Past { trust, claims } = self.pasts.entry(context.seq).or_default();
        let all = &mut self.trusts[usize::from(context.sampling.is_greedy())];
        claims.judge(tokens, |class, owed| {
            trust.learn(class, owed, MEMORY);
            all.learn(class, owed, MEMORY_OF_ALL);
        });
        let weighed = |class: Class| {
            let usual = all.weight(class, class.first_weight());
            (class, trust.weight(class, usual))
        };
        let mut chain = self.lookup.longest_match(context).map(Chain::new);
        let infini = &mut self.infini;
        let trigram = self.trigram.sources(context);
        let ranking = Ranking::new(context.sampling);
        let mixture = &mut self.mixture;
        let tree = self.maker.make(context, |tree, node, least, guesses| {
            mixture.clear();
            let chained = chain.as_mut().and_then(|chain| chain.guess(tree, node));
            if let Some((class, guess)) = chained {
                claims.add(mixture, node, weighed(class), &[guess]);
            }
            let found = infini
                .as_mut()
                .and_then(|infini| infini.guess(tokens, tree, node));
            if let Some((len, found)) = found {
                let class = Class::new(Kind::Corpus, len);
                claims.add(mixture, node, weighed(class), found);
            }
            trigram.guess(tree, node, ranking.least_own(least), mixture);
            claims.compare(mixture, node);
            let position = tokens.len() + tree.depth(node);
            ranking.rank(mixture.successors(), position, least, guesses);
        });
        claims.keep(&tree, tokens.len());
        tree
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
        self.trigram.finished(finished);
        self.lookup.finished(finished);
        if let Some(infini) = &mut self.infini {
            infini.finished(finished);
        }
    }

    fn forget(&mut self, seq: SeqId) {
        self.pasts.remove(&seq);
        self.trigram.forget(seq);
        self.lookup.forget(seq);
        if let Some(infini) = &mut self.infini {
            infini.forget(seq);
        }
    }
}

#[cfg(test)]
mod tests;
