//! Drafter `trigram`: what followed the last two tokens before, in a corpus and in the sequence itself.
//!
//! After ADED ("Adaptive Draft-Verification for Efficient Large Language Model Decoding", Liu, Lei, Zhang, Xu, arXiv
//! 2407.12021), with what replays of its published program suggested: a priority queue draws the same trees as its
//! Monte Carlo search for a fraction of the time; what adapts is kept per request and learns the whole prompt;
//! suffixes that were never seen back off to shorter ones; and at temperatures above 0 guesses are ranked with the
//! target's own noise.

mod blend;
mod builder;
mod grams;
mod mcts;
mod overlay;
mod recent;
mod row;
mod shared;
mod suffix;
mod table;

use candle_core::Result;
use foretoken_model::{SamplingParams, SeqId};
use rustc_hash::FxHashMap;

use crate::drafter::{Context, Drafter, Finished};
use crate::maker::Maker;
use crate::mixture::Mixture;
use crate::parallel::for_each_job;
use crate::ranking::Ranking;
use crate::tree::DraftTree;
use blend::Sources;
pub use builder::{BuildError, Pruning, TableBuilder};
pub(crate) use grams::Grams;
pub use mcts::Mcts;
pub(crate) use overlay::Overlay;
pub use shared::{SharedOverlay, SharedOverlayError};
pub use table::StaticTable;

const NAME: &str = "trigram";

/// How trees are grown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Search {
    /// The likeliest node comes next, wherever it hangs.
    #[default]
    BestFirst,
    /// The paper's Monte Carlo tree search: four levels, at many times the cost.
    Mcts,
}

/// What may be left out of the drafter, or done otherwise, for comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrigramOptions {
    /// How trees are grown.
    pub search: Search,
    /// Learns from each sequence.
    pub adapts: bool,
    /// Ranks guesses with the noise of the request's own sampler.
    pub shares_noise: bool,
}

impl Default for TrigramOptions {
    fn default() -> Self {
        Self {
            search: Search::default(),
            adapts: true,
            shares_noise: true,
        }
    }
}

/// Drafts by tri-grams.
#[derive(Debug)]
pub struct Trigram {
    pub(crate) grams: Grams,
    overlays: FxHashMap<SeqId, Overlay>,
    options: TrigramOptions,
    scratches: Vec<Scratch>,
}

/// What one thread drafts with.
#[derive(Debug, Default)]
struct Scratch {
    mixture: Mixture,
    maker: Maker,
    mcts: Mcts,
}

impl Trigram {
    /// A drafter with a table of the model's vocabulary. Without one it knows each sequence's own past alone.
    pub fn new(table: Option<StaticTable>) -> Self {
        Self::with_options(table, TrigramOptions::default())
    }

    /// As above, something left out or done otherwise.
    pub fn with_options(table: Option<StaticTable>, options: TrigramOptions) -> Self {
        Self {
            grams: Grams {
                table,
                shared: None,
                adapts: options.adapts,
            },
            overlays: FxHashMap::default(),
            options,
            scratches: Vec::new(),
        }
    }

    /// The same, but it learns from all requests that have no salt, and guesses from that for all of these.
    pub fn sharing(mut self, overlay: SharedOverlay) -> Self {
        self.grams.shared = Some(overlay);
        self
    }
}

impl Scratch {
    fn draft(
        &mut self,
        context: &Context<'_>,
        sources: &Sources<'_>,
        options: TrigramOptions,
    ) -> DraftTree {
        let greedy = SamplingParams::greedy();
        let ranking = Ranking::new(match options.shares_noise {
            true => context.sampling,
            false => &greedy,
        });
        let mixture = &mut self.mixture;
        let num_tokens = context.tokens.len();
        match options.search {
            Search::BestFirst => self.maker.make(context, |tree, node, least, guesses| {
                mixture.clear();
                sources.guess(tree, node, ranking.least_own(least), mixture);
                let position = num_tokens + tree.depth(node);
                ranking.rank(mixture.successors(), position, least, guesses);
            }),
            Search::Mcts => self.mcts.make(context, NAME, |last, depth, guesses| {
                mixture.clear();
                sources.blend(last, 0.0, mixture);
                ranking.rank(mixture.successors(), num_tokens + depth, 0.0, guesses);
            }),
        }
    }
}

impl Drafter for Trigram {
    fn name(&self) -> &'static str {
        NAME
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        let mut jobs: Vec<_> = contexts
            .iter()
            .map(|context| {
                let overlay = self.overlays.remove(&context.seq);
                (context, overlay.unwrap_or_default())
            })
            .collect();
        let (grams, options) = (&self.grams, self.options);
        let trees = for_each_job(
            &mut jobs,
            &mut self.scratches,
            |(context, overlay), scratch| {
                let sources = grams.sources(context, overlay);
                scratch.draft(context, &sources, options)
            },
        );
        let learnt = jobs
            .into_iter()
            .map(|(context, overlay)| (context.seq, overlay));
        self.overlays.extend(learnt);
        Ok(trees)
    }

    fn finished(&mut self, finished: &Finished<'_>) {
        self.grams.finished(finished);
    }

    fn forget(&mut self, seq: SeqId) {
        self.overlays.remove(&seq);
    }

    fn close(&mut self) -> Result<()> {
        self.grams.close()
    }
}

#[cfg(test)]
mod tests {
    use foretoken_model::{BlockTable, Noise, SamplingParams, Token};

    use super::*;
    use crate::drafter::{Costs, Hints};
    use crate::tree::Node;

    const TEXT: &[Token] = &[1, 2, 3, 4, 1, 2, 5, 4, 1, 2, 3, 6, 1, 2];

    fn table() -> StaticTable {
        let document = [0, 1, 2, 7, 8, 9, 2, 7, 8, 1, 2, 7, 9];
        builder::tests::table(&[&document], Pruning::NONE)
    }

    fn sampling(temperature: f32, seed: u64) -> SamplingParams {
        SamplingParams {
            temperature,
            seed,
            ..SamplingParams::greedy()
        }
    }

    fn context<'a>(seq: u64, tokens: &'a [Token], sampling: &'a SamplingParams) -> Context<'a> {
        Context {
            seq: SeqId(seq),
            tokens,
            table: BlockTable::EMPTY,
            sampling,
            max_draft_tokens: 20,
            max_draft_depth: 5,
            costs: Costs::default(),
            hints: Hints::default(),
        }
    }

    fn propose(
        drafter: &mut Trigram,
        seq: u64,
        tokens: &[Token],
        sampling: &SamplingParams,
    ) -> DraftTree {
        drafter
            .propose(&[context(seq, tokens, sampling)])
            .unwrap()
            .remove(0)
    }

    #[test]
    fn the_sequences_own_past_stands_before_the_corpus() {
        let greedy = SamplingParams::greedy();
        let first = |table: Option<StaticTable>, tokens| {
            let tree = propose(&mut Trigram::new(table), 1, tokens, &greedy);
            tree.tokens().get(1).copied()
        };
        assert_eq!(first(None, &[1, 2]), None);
        assert_eq!(first(Some(table()), &[1, 2]), Some(7));
        assert_eq!(first(None, TEXT), Some(3));
        assert_eq!(first(Some(table()), TEXT), Some(3));
    }

    #[test]
    fn drafts_depend_on_the_text_and_the_sampler_alone() {
        for sampling in [sampling(0.0, 0), sampling(0.8, 1), sampling(1.0, 2)] {
            let mut drafter = Trigram::new(Some(table()));
            for end in 1..=TEXT.len() {
                let text = &TEXT[..end];
                let fresh = propose(&mut Trigram::new(Some(table())), 9, text, &sampling);
                let others = [context(1, text, &sampling), context(2, &[3, 1], &sampling)];
                assert_eq!(drafter.propose(&others).unwrap()[0], fresh, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let greedy = SamplingParams::greedy();
        let mut drafter = Trigram::new(None);
        assert!(propose(&mut drafter, 1, TEXT, &greedy).num_draft_tokens() > 0);
        assert_eq!(
            propose(&mut drafter, 2, &[1, 2], &greedy).num_draft_tokens(),
            0,
            "another's"
        );
        drafter.forget(SeqId(1));
        drafter.forget(SeqId(2));
        assert!(drafter.overlays.is_empty());
        assert_eq!(
            propose(&mut drafter, 1, &[1, 2], &greedy).num_draft_tokens(),
            0
        );
    }

    #[test]
    fn each_depth_has_the_noise_of_its_position() {
        for seed in 0..50 {
            // So hot that noise alone ranks what may follow at all.
            let (hot, noise) = (sampling(1e4, seed), Noise::new(seed));
            let tree = propose(&mut Trigram::new(Some(table())), 1, TEXT, &hot);
            assert!(tree.num_draft_tokens() > 10, "{tree:?}");
            for node in 1..tree.num_nodes() {
                let position = TEXT.len() + tree.depth(node) - 1;
                let heard = |node: Node| noise.at(position, tree.tokens()[node]);
                let mut elder = 1..node;
                let elder = elder.rfind(|&other| tree.parents()[other] == tree.parents()[node]);
                assert!(
                    elder.is_none_or(|elder| heard(elder) > heard(node)),
                    "{tree:?}"
                );
            }
        }
    }
}
