//! Drafter `infini`: what followed the end of the sequence in a corpus, as much of the end as ever occurred there.
//!
//! After REST ("Retrieval-Based Speculative Decoding", He and others, arXiv 2311.08252) and Infini-gram (Liu and others,
//! arXiv 2401.17377): a suffix array finds the longest match in microseconds, and a match grows with every guess, since
//! the suffixes in which a token follows stand side by side. Short of occurrences it backs off to shorter matches; at
//! temperatures above 0 guesses are ranked with the target's own noise.

mod builder;
mod corpus;
mod corpus_builder;
mod index;

use candle_core::Result;
use foretoken_model::Token;

use crate::drafter::{Context, Drafter};
use crate::maker::Maker;
use crate::mixture::Mixture;
use crate::parallel::for_each_job;
use crate::ranking::{Ranking, Successor};
use crate::tree::{DraftTree, Node};
pub use builder::{BuildError, SuffixArrayBuilder};
pub use corpus::Corpus;
pub use corpus_builder::CorpusBuilder;
pub(crate) use index::Index;
use index::Match;

const NAME: &str = "infini";

/// Matches that are followed at once, of different lengths. A fourth won nothing on held-out texts (with twice the doubt).
const MAX_MATCHES: usize = 3;

/// How much a match of one token is doubted, for each different token that follows.
///
/// Fitted to 288 recorded answers of the carried model at temperatures 0, 0.7 and 1 (trees of 32 nodes, a corpus of 56 M
/// tokens): guesses that promised 0.22, 0.48 and 0.83 were right in 0.20, 0.43 and 0.75 of cases; with a doubt of 4 in
/// 0.11, 0.28 and 0.61. Acceptance is flat from 8 to 20. What is left the engine's calibration corrects.
const DOUBT: f32 = 12.0;

/// Drafts by suffix matches in a corpus.
#[derive(Debug)]
pub struct Infini {
    pub(crate) corpus: Corpus,
    scratches: Vec<(Maker, Guesser)>,
}

/// What may follow the nodes of a tree. Its scratch is kept between trees.
#[derive(Debug, Default)]
pub(crate) struct Guesser {
    /// By node, what ends there and occurs in the corpus: longest first, each shorter one at least twice as often.
    matches: Vec<Vec<Match>>,
    found: Vec<Match>,
    followers: Vec<(Token, u32)>,
    mixture: Mixture,
}

impl Infini {
    /// A drafter with a corpus of the model's vocabulary.
    pub fn new(corpus: Corpus) -> Self {
        Self {
            corpus,
            scratches: Vec::new(),
        }
    }
}

impl Guesser {
    /// What may follow a node, in any order, and how much of what ends there occurs; its parent was asked about before.
    pub(crate) fn successors(
        &mut self,
        index: Index<'_>,
        tokens: &[Token],
        tree: &DraftTree,
        node: Node,
    ) -> Option<(usize, &mut Vec<Successor>)> {
        self.reach(index, tokens, tree, node);
        self.guess(index, node);
        let longest = self.matches[node].first()?;
        Some((longest.len, self.mixture.successors()))
    }

    /// Finds the matches that end at a node; those of its parent are known.
    fn reach(&mut self, index: Index<'_>, tokens: &[Token], tree: &DraftTree, node: Node) {
        if self.matches.is_empty() {
            self.matches.resize(DraftTree::MAX_NODES, Vec::new());
        }
        if node == DraftTree::ROOT {
            index.suffixes_of(tokens, &mut self.found);
            self.found.reverse();
        } else {
            let (parent, token) = (tree.parents()[node], tree.tokens()[node]);
            let longer = self.matches[parent].iter();
            self.found.clear();
            self.found
                .extend(longer.filter_map(|shorter| index.extend(shorter, token)));
        }
        let matches = &mut self.matches[node];
        matches.clear();
        for found in self.found.drain(..) {
            // One that occurs hardly more often than a longer one has hardly more to tell.
            let tells = matches
                .last()
                .is_none_or(|longer| found.count() / 2 >= longer.count());
            if tells && matches.len() < MAX_MATCHES {
                matches.push(found);
            }
        }
    }

    /// Mixes what follows the matches at a node, the longest match first.
    ///
    /// A token that c of n occurrences go on with, where d different ones do, has the chance c / (n + 12 d / len): Witten
    /// and Bell's, c / (n + d), at a match of twelve tokens. Longer ones are doubted less: a single occurrence goes on as
    /// before with a chance of len / (len + 12), and what it leaves is for the shorter matches.
    fn guess(&mut self, index: Index<'_>, node: Node) {
        self.mixture.clear();
        for found in &self.matches[node] {
            if self.mixture.is_complete() {
                break;
            }
            let total = index.followers(found, &mut self.followers);
            let doubt = DOUBT * self.followers.len() as f32 / found.len as f32;
            let whole = total as f32 + doubt;
            let chance = |&(token, count): &(Token, u32)| (token, count as f32 / whole);
            self.mixture.add(NAME, self.followers.iter().map(chance));
        }
    }
}

impl Drafter for Infini {
    fn name(&self) -> &'static str {
        NAME
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        let index = self.corpus.index();
        let mut contexts = contexts.to_vec();
        Ok(for_each_job(
            &mut contexts,
            &mut self.scratches,
            |context, (maker, guesser)| {
                let ranking = Ranking::new(context.sampling);
                let tokens = context.tokens;
                maker.make(context, |tree, node, least, guesses| {
                    match guesser.successors(index, tokens, tree, node) {
                        Some((_, found)) => {
                            ranking.rank(found, tokens.len() + tree.depth(node), least, guesses);
                        }
                        None => guesses.clear(),
                    }
                })
            },
        ))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use foretoken_model::{BlockTable, Noise, SamplingParams, SeqId};
    use proptest::prelude::*;

    use super::corpus::tests::{file, forged};
    use super::*;
    use crate::drafter::{Costs, Hints};

    /// A drafter that knows documents of a vocabulary of ten tokens.
    pub(crate) fn infini(documents: &[Vec<Token>]) -> Infini {
        Infini::new(Corpus::new(file(10, documents), 10, 7).unwrap())
    }

    fn sampling(temperature: f32, seed: u64) -> SamplingParams {
        SamplingParams {
            temperature,
            seed,
            ..SamplingParams::greedy()
        }
    }

    fn propose(
        infini: &mut Infini,
        tokens: &[Token],
        sampling: &SamplingParams,
        (max_draft_tokens, max_draft_depth): (usize, usize),
    ) -> DraftTree {
        let context = Context {
            seq: SeqId(1),
            tokens,
            table: BlockTable::EMPTY,
            sampling,
            max_draft_tokens,
            max_draft_depth,
            costs: Costs::default(),
            hints: Hints::default(),
        };
        infini.propose(&[context]).unwrap().remove(0)
    }

    #[test]
    fn the_longest_match_is_followed_before_the_commonest() {
        let documents = [
            vec![1, 2, 3, 4, 5],
            vec![7, 2, 3, 8, 6],
            vec![0, 3, 9],
            vec![0, 3, 9],
        ];
        let first = |context: &[Token]| {
            let greedy = SamplingParams::greedy();
            let tree = propose(&mut infini(&documents), context, &greedy, (1, 1));
            tree.tokens()[1..].to_vec()
        };
        assert_eq!(first(&[1, 2, 3]), [4]);
        assert_eq!(first(&[7, 2, 3]), [8]);
        assert_eq!(first(&[5, 3]), [9], "3 alone");
        assert!(first(&[3, 9]).is_empty(), "nothing follows a document");
        assert_eq!(first(&[4, 5, 7]), [2], "nor matched across two");
    }

    #[test]
    fn a_single_occurrence_is_trusted_by_its_length() {
        let text: Vec<Token> = vec![1, 2, 3, 4, 5, 6, 7, 8, 9];
        let survival = |context: &[Token]| {
            let greedy = SamplingParams::greedy();
            let tree = propose(
                &mut infini(std::slice::from_ref(&text)),
                context,
                &greedy,
                (1, 1),
            );
            tree.survival()[1]
        };
        let by_length = [&text[2..3], &text[1..3], &text[..3]].map(survival);
        assert!(by_length.is_sorted_by(|a, b| a < b), "{by_length:?}");
    }

    #[test]
    fn each_depth_has_the_noise_of_its_position() {
        let text: Vec<Token> = (0..400).map(|i: u32| i.pow(2) / 7 % 10).collect();
        for seed in 0..50 {
            // So hot that noise alone ranks what may follow at all.
            let (hot, noise) = (sampling(1e4, seed), Noise::new(seed));
            let tree = propose(
                &mut infini(std::slice::from_ref(&text)),
                &text[..3],
                &hot,
                (20, 5),
            );
            for node in 1..tree.num_nodes() {
                let position = 3 + tree.depth(node) - 1;
                let heard = |node: Node| noise.at(position, tree.tokens()[node]);
                let elder = (1..node).rfind(|&elder| tree.parents()[elder] == tree.parents()[node]);
                assert!(
                    elder.is_none_or(|elder| heard(elder) > heard(node)),
                    "{tree:?}"
                );
            }
        }
    }

    fn assert_well_formed(tree: &DraftTree, limits: (usize, usize)) {
        assert!(tree.num_draft_tokens() <= limits.0);
        for node in 1..tree.num_nodes() {
            let (parent, token) = (tree.parents()[node], tree.tokens()[node]);
            assert!(parent < node && token < 10);
            assert_eq!(tree.child(parent, token), Some(node), "no twins");
            assert!(tree.depth(node) <= limits.1);
            assert!(tree.survival()[node] <= tree.survival()[node - 1]);
        }
    }

    proptest! {
        #[test]
        fn trees_are_well_formed_and_stay_within_documents(
            documents in prop::collection::vec(prop::collection::vec(0..6_u32, 0..20), 0..6),
            context in prop::collection::vec(0..6_u32, 1..8),
            limits in (0..=63_usize, 0..=8_usize),
            temperature in prop_oneof![Just(0.0), Just(1.0_f32)],
        ) {
            let mut infini = infini(&documents);
            let sampling = sampling(temperature, 5);
            let tree = propose(&mut infini, &context, &sampling, limits);
            assert_well_formed(&tree, limits);
            for node in 1..tree.num_nodes() {
                let mut path = vec![tree.tokens()[node]];
                let mut above = tree.parents()[node];
                while above != DraftTree::ROOT {
                    path.insert(0, tree.tokens()[above]);
                    above = tree.parents()[above];
                }
                path.insert(0, context[context.len() - 1]);
                let occurs = documents.iter().any(|document| {
                    document.windows(path.len()).any(|window| window == path)
                });
                prop_assert!(occurs, "{:?} in {:?}", path, documents);
            }
            // The same again, with used scratch.
            propose(&mut infini, &[1], &sampling, (63, 8));
            prop_assert_eq!(propose(&mut infini, &context, &sampling, limits), tree);
        }

        #[test]
        fn a_forged_corpus_gives_well_formed_trees(
            num_tokens in 0..64_usize,
            noise in prop::collection::vec(any::<[u8; 2]>(), 64),
            context in prop::collection::vec(0..10_u32, 1..8),
        ) {
            let tokens = noise[..num_tokens].iter().flat_map(|&[token, _]| u16::from(token % 12).to_le_bytes());
            let places = noise[..num_tokens].iter().flat_map(|&[_, place]| u32::from(place % 80).to_le_bytes());
            let bytes = forged(10, num_tokens as u64, &tokens.chain(places).collect::<Vec<u8>>());
            let mut infini = Infini::new(Corpus::new(bytes, 10, 7).unwrap());
            let limits = (63, 63);
            let tree = propose(&mut infini, &context, &sampling(1.0, 5), limits);
            assert_well_formed(&tree, limits);
        }
    }
}
