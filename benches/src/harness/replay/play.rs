//! One answer, drafted again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use foretoken_draft::{Context, DraftTree, Drafter, Hints, accept};
use foretoken_model::SeqId;

use super::transcript::Transcript;
use foretoken_server::engine::budget::{Budget, Candidate, Load, Prices, Step, Times};

/// Levels of a tree, as by the server's default.
const MAX_DEPTH: usize = 16;

/// How drafts are cut.
#[derive(Debug)]
pub enum Policy {
    /// So many draft tokens wherever the drafter has them.
    Fixed(usize),
    /// The server's own policy, on a clock that says what forwards cost.
    Budget(Box<Budget>, Prices),
}

/// Plays transcripts one after another, as a server would that has one client.
pub struct Player<'a> {
    drafter: &'a mut dyn Drafter,
    policy: Policy,
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
    /// What the steps took, forwards by their prices; nothing at a fixed budget.
    pub seconds: f64,
    /// What plain decoding would have taken.
    pub plain_seconds: f64,
}

impl<'a> Player<'a> {
    /// A player whose policy goes on learning from answer to answer.
    pub fn new(drafter: &'a mut dyn Drafter, policy: Policy) -> Self {
        Self {
            drafter,
            policy,
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
            let step = self.step(seq, len, transcript);
            let asked = match &mut self.policy {
                Policy::Fixed(num) => *num,
                Policy::Budget(budget, _) => budget.ask(&step.candidates[0]),
            };
            let max_draft_depth = MAX_DEPTH.min(text.len() - len - 1);
            let context = Context {
                seq,
                tokens: &text[..len],
                sampling: &sampling,
                max_draft_tokens: if max_draft_depth == 0 { 0 } else { asked },
                max_draft_depth,
                hints: Hints::default(),
            };
            let (tree, draft) = self.propose(&context)?;
            let mut trees = [tree];
            if let Policy::Budget(budget, _) = &mut self.policy {
                budget.select(&step, &mut trees);
            }
            let tree = &trees[0];
            let accepted = accept(tree, |node| text[len + tree.depth(node)]);
            played.num_steps += 1;
            played.num_drafts += usize::from(tree.num_draft_tokens() > 0);
            played.num_draft_tokens += tree.num_draft_tokens();
            played.num_accepted_tokens += accepted.path.len() - 1;
            played.num_asked += usize::from(context.max_draft_tokens > 0);
            played.draft += draft;
            len += accepted.path.len();
            if let Policy::Budget(budget, prices) = &mut self.policy {
                let forward = prices.price(load(tree.num_nodes(), len));
                played.seconds += forward + draft.as_secs_f64();
                let times = Times {
                    draft,
                    forward: Duration::from_secs_f64(forward),
                    rest: Duration::ZERO,
                };
                played.plain_seconds += prices.price(load(1, len)) * accepted.path.len() as f64;
                budget.learn(&step, &trees, &[accepted], times);
            }
        }
        self.drafter.forget(seq);
        if let Policy::Budget(budget, _) = &mut self.policy {
            budget.forget(seq);
        }
        Ok(played)
    }

    /// A tree within its limits, and what it took to draft.
    fn propose(&mut self, context: &Context<'_>) -> Result<(DraftTree, Duration)> {
        if context.max_draft_tokens == 0 {
            let root = context.tokens[context.tokens.len() - 1];
            return Ok((DraftTree::new(root), Duration::ZERO));
        }
        let started = Instant::now();
        let tree = self.drafter.propose(&[*context])?.pop();
        let draft = started.elapsed();
        let name = self.drafter.name();
        let tree = tree.filter(|tree| tree.num_draft_tokens() <= context.max_draft_tokens);
        ensure!(
            tree.is_some(),
            "{name} gave no tree, or one of too many nodes"
        );
        Ok((tree.unwrap_or_else(|| DraftTree::new(0)), draft))
    }

    fn step(&self, seq: SeqId, len: usize, transcript: &Transcript) -> Step {
        let candidate = Candidate {
            seq,
            drafter: Some(self.drafter.name()),
            is_greedy: transcript.sampling().is_greedy(),
            is_first: len == transcript.prompt.len(),
            context_len: len - 1,
            min_draft_tokens: 0,
        };
        Step {
            candidates: vec![candidate],
            load: load(1, len),
            num_draft_rows: DraftTree::MAX_NODES,
        }
    }
}

fn load(num_rows: usize, num_keys: usize) -> Load {
    Load {
        num_rows,
        num_row_keys: num_rows * num_keys,
        num_keys,
    }
}
