//! One answer, drafted again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use foretoken_draft::{Context, Costs, DraftTree, Drafter, Finished, Hints, accept};
use foretoken_model::{BlockTable, SeqId};

use super::transcript::Transcript;

/// Levels of a tree, as by the server's default.
const MAX_DEPTH: usize = 16;

/// Plays transcripts one after another, as a server would that has one client and a fixed budget.
pub struct Player<'a> {
    drafter: &'a mut dyn Drafter,
    /// Draft tokens of each step, wherever the drafter has them.
    budget: usize,
    num_played: u64,
}

/// What drafting an answer again brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Played {
    /// Verifies.
    pub num_steps: usize,
    /// Verifies that held a draft token.
    pub num_drafts: usize,
    /// Draft tokens verified.
    pub num_draft_tokens: usize,
    /// Draft tokens kept.
    pub num_accepted_tokens: usize,
    /// Times that the drafter was asked.
    pub num_asked: usize,
    /// What it took, by this machine's clock.
    pub draft: Duration,
}

impl<'a> Player<'a> {
    /// A player whose drafter goes on learning from answer to answer.
    pub fn new(drafter: &'a mut dyn Drafter, budget: usize) -> Self {
        Self {
            drafter,
            budget,
            num_played: 0,
        }
    }

    /// The drafter's name.
    pub fn name(&self) -> &'static str {
        self.drafter.name()
    }

    /// Drafts an answer from its first token to its last.
    pub fn play(&mut self, transcript: &Transcript) -> Result<Played> {
        let seq = SeqId(self.num_played);
        self.num_played += 1;
        let sampling = transcript.sampling();
        let text = [&transcript.prompt[..], &transcript.tokens].concat();
        let mut played = Played::default();
        let mut len = transcript.prompt.len();
        while len < text.len() {
            let max_draft_depth = MAX_DEPTH.min(text.len() - len - 1);
            let context = Context {
                seq,
                tokens: &text[..len],
                table: BlockTable::EMPTY,
                sampling: &sampling,
                max_draft_tokens: if max_draft_depth == 0 { 0 } else { self.budget },
                max_draft_depth,
                costs: Costs::default(),
                hints: Hints::default(),
            };
            let (tree, draft) = self.propose(&context)?;
            let accepted = accept(&tree, |node| text[len + tree.depth(node)]);
            played.num_steps += 1;
            played.num_drafts += usize::from(tree.num_draft_tokens() > 0);
            played.num_draft_tokens += tree.num_draft_tokens();
            played.num_accepted_tokens += accepted.path.len() - 1;
            played.num_asked += usize::from(context.max_draft_tokens > 0);
            played.draft += draft;
            len += accepted.path.len();
        }
        self.drafter.finished(&Finished {
            tokens: &text,
            num_prompt_tokens: transcript.prompt.len(),
            cache_salt: None,
        });
        self.drafter.forget(seq);
        Ok(played)
    }

    /// A tree within its limits, and what it took to draft.
    fn propose(&mut self, context: &Context<'_>) -> Result<(DraftTree, Duration)> {
        if context.max_draft_tokens == 0 {
            return Ok((DraftTree::new(context.root()), Duration::ZERO));
        }
        let started = Instant::now();
        let tree = self.drafter.propose(&[*context])?.pop();
        let draft = started.elapsed();
        let tree = tree
            .filter(|tree| tree.num_draft_tokens() <= context.max_draft_tokens)
            .with_context(|| {
                let name = self.drafter.name();
                format!("{name} gave no tree, or one of too many nodes")
            })?;
        Ok((tree, draft))
    }
}
