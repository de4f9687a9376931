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
use crate::infini::{Corpus, Guesser, Infini};
use crate::lookup::Lookup;
use crate::maker::Maker;
use crate::mixture::Mixture;
use crate::parallel::for_each_job;
use crate::ranking::Ranking;
use crate::tree::DraftTree;
use crate::trigram::{Grams, Overlay, Trigram};
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
    grams: Grams,
    lookup: Lookup,
    corpus: Option<Corpus>,
    pasts: FxHashMap<SeqId, Past>,
    /// What came of all sequences' guesses: at temperatures above 0, and at 0.
    trusts: [Trust; 2],
    scratches: Vec<Scratch>,
}

/// A sequence's tri-grams, what came of its guesses, and what its latest were.
#[derive(Debug, Default)]
struct Past {
    overlay: Overlay,
    trust: Trust,
    claims: Claims,
}

/// What one thread drafts with.
#[derive(Debug, Default)]
struct Scratch {
    mixture: Mixture,
    maker: Maker,
    guesser: Guesser,
}

impl Auto {
    /// A drafter that knows what these know. The last needs a corpus.
    pub fn new(trigram: Trigram, lookup: Lookup, infini: Option<Infini>) -> Self {
        Self {
            grams: trigram.grams,
            lookup,
            corpus: infini.map(|infini| infini.corpus),
            pasts: FxHashMap::default(),
            trusts: Default::default(),
            scratches: Vec::new(),
        }
    }

    /// Learns what is new of a sequence.
    fn advance(&mut self, context: &Context<'_>) -> Past {
        let mut past = self.pasts.remove(&context.seq).unwrap_or_default();
        let Past { trust, claims, .. } = &mut past;
        let all = &mut self.trusts[usize::from(context.sampling.is_greedy())];
        claims.judge(context.tokens, |class, owed| {
            trust.learn(class, owed, MEMORY);
            all.learn(class, owed, MEMORY_OF_ALL);
        });
        self.lookup.advance(context);
        past
    }

    fn draft(&self, context: &Context<'_>, past: &mut Past, scratch: &mut Scratch) -> DraftTree {
        let tokens = context.tokens;
        let Past {
            overlay,
            trust,
            claims,
        } = past;
        let Scratch {
            mixture,
            maker,
            guesser,
        } = scratch;
        let all = &self.trusts[usize::from(context.sampling.is_greedy())];
        let weighed = |class: Class| {
            let usual = all.weight(class, class.first_weight());
            (class, trust.weight(class, usual))
        };
        let mut chain = self.lookup.longest_match(context).map(Chain::new);
        let index = self.corpus.as_ref().map(Corpus::index);
        let trigrams = self.grams.sources(context, overlay);
        let ranking = Ranking::new(context.sampling);
        let tree = maker.make(context, |tree, node, least, guesses| {
            mixture.clear();
            let chained = chain.as_mut().and_then(|chain| chain.guess(tree, node));
            if let Some((class, guess)) = chained {
                claims.add(mixture, node, weighed(class), &[guess]);
            }
            let found = index.and_then(|index| guesser.successors(index, tokens, tree, node));
            if let Some((len, found)) = found {
                let class = Class::new(Kind::Corpus, len);
                claims.add(mixture, node, weighed(class), found);
            }
            trigrams.guess(tree, node, ranking.least_own(least), mixture);
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
        let mut jobs: Vec<_> = contexts
            .iter()
            .map(|context| (context, self.advance(context)))
            .collect();
        let mut scratches = std::mem::take(&mut self.scratches);
        let trees = for_each_job(&mut jobs, &mut scratches, |(context, past), scratch| {
            self.draft(context, past, scratch)
        });
        self.scratches = scratches;
        let learnt = jobs.into_iter().map(|(context, past)| (context.seq, past));
        self.pasts.extend(learnt);
        Ok(trees)
    }

    fn finished(&mut self, finished: &Finished<'_>) {
        self.grams.finished(finished);
        self.lookup.finished(finished);
    }

    fn forget(&mut self, seq: SeqId) {
        self.pasts.remove(&seq);
        self.lookup.forget(seq);
    }

    fn close(&mut self) -> Result<()> {
        self.grams.close()
    }
}

#[cfg(test)]
mod tests;
