//! The engine's drafters: each sequence is drafted by the one that its request names, and none can do harm.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::Result;
use foretoken_draft::{Context, DraftTree, Drafter, Finished, Verified};
use foretoken_model::{KvCache, SeqId};

/// Drafters by name. One that fails costs its drafts, nothing else.
pub struct Drafters {
    drafters: Vec<Box<dyn Drafter>>,
    vocab_size: usize,
}

impl Drafters {
    /// Drafters for a model of `vocab_size` tokens.
    pub fn new(drafters: Vec<Box<dyn Drafter>>, vocab_size: usize) -> Self {
        Self {
            drafters,
            vocab_size,
        }
    }

    /// Adds the layers of those that keep some.
    pub(crate) fn attach(&mut self, cache: &mut KvCache) -> Result<()> {
        for drafter in &mut self.drafters {
            if let Some(shape) = drafter.layers() {
                drafter.attach(cache.extend(shape)?);
            }
        }
        Ok(())
    }

    /// Takes memory for steps of so many rows.
    pub(crate) fn reserve(&mut self, num_rows: usize) -> Result<()> {
        (self.drafters.iter_mut()).try_for_each(|drafter| drafter.reserve(num_rows))
    }

    /// Bytes that a slot of the cache takes in their layers.
    pub(crate) fn slot_bytes(&self) -> usize {
        let layers = self.drafters.iter().filter_map(|drafter| drafter.layers());
        layers.map(|shape| shape.slot_bytes()).sum()
    }

    /// Bytes that a row of a step takes in them.
    pub(crate) fn row_bytes(&self) -> usize {
        self.drafters
            .iter()
            .map(|drafter| drafter.row_bytes())
            .sum()
    }

    /// What requests may name.
    pub fn names(&self) -> Vec<&'static str> {
        self.drafters.iter().map(|drafter| drafter.name()).collect()
    }

    /// One tree per context, in order; the root alone where nobody drafts.
    pub(crate) fn propose(
        &mut self,
        contexts: &[(Option<&'static str>, Context<'_>)],
    ) -> Vec<DraftTree> {
        let mut trees: Vec<DraftTree> = contexts
            .iter()
            .map(|(_, context)| root_alone(context))
            .collect();
        let vocab_size = self.vocab_size;
        self.each(|drafter| {
            let name = drafter.name();
            let wants = |&(wanted, context): &(Option<&str>, Context<'_>)| {
                wanted == Some(name) && context.max_draft_tokens > 0
            };
            let mine: Vec<usize> = (0..contexts.len())
                .filter(|&index| wants(&contexts[index]))
                .collect();
            if mine.is_empty() {
                return Ok(());
            }
            let contexts: Vec<Context<'_>> = mine.iter().map(|&index| contexts[index].1).collect();
            let proposed = drafter.propose(&contexts)?;
            for ((&index, context), tree) in mine.iter().zip(&contexts).zip(proposed) {
                trees[index] = fit(tree, context, vocab_size);
            }
            Ok(())
        });
        trees
    }

    /// Shows every drafter what the target computed.
    pub(crate) fn observe(&mut self, verified: &Verified<'_>) {
        self.each(|drafter| drafter.observe(verified));
    }

    /// Shows every drafter a sequence that has said its last token.
    pub(crate) fn finished(&mut self, finished: &Finished<'_>) {
        self.each(|drafter| {
            drafter.finished(finished);
            Ok(())
        });
    }

    /// Tells every drafter that a sequence is gone.
    pub(crate) fn forget(&mut self, seq: SeqId) {
        self.each(|drafter| {
            drafter.forget(seq);
            Ok(())
        });
    }

    /// Tells every drafter that no more comes.
    pub(crate) fn close(&mut self) {
        for drafter in &mut self.drafters {
            if let Err(error) = drafter.close() {
                let drafter = drafter.name();
                tracing::error!(drafter, %error, "what the drafter has learnt is not saved");
            }
        }
    }

    /// Calls every drafter. An error is logged and forgiven; after a panic its state may be torn, so it is dismissed,
    /// and requests that name it are decoded plainly.
    fn each(&mut self, mut call: impl FnMut(&mut dyn Drafter) -> Result<()>) {
        self.drafters.retain_mut(|drafter| {
            let name = drafter.name();
            match catch_unwind(AssertUnwindSafe(|| call(drafter.as_mut()))) {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::warn!(drafter = name, %error, "the drafter failed; decoding goes on without its drafts");
                    true
                }
                Err(_) => {
                    tracing::error!(drafter = name, "the drafter panicked and is dismissed; decoding goes on plainly");
                    false
                }
            }
        });
    }
}

fn root_alone(context: &Context<'_>) -> DraftTree {
    DraftTree::new(context.root())
}

/// The tree up to its first node that the target could not verify: beyond a limit, or of a token that does not exist.
fn fit(mut tree: DraftTree, context: &Context<'_>, vocab_size: usize) -> DraftTree {
    if tree.tokens()[DraftTree::ROOT] != context.root() {
        return root_alone(context);
    }
    let bad = |&node: &usize| {
        tree.depth(node) > context.max_draft_depth || tree.tokens()[node] as usize >= vocab_size
    };
    let first_bad = (1..tree.num_nodes()).find(bad).unwrap_or(tree.num_nodes());
    tree.truncate(context.max_draft_tokens.min(first_bad - 1));
    tree
}
