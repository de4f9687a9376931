//! Accepted paths become tokens: cut where the output ends, counted, sent, and kept in the cache.

use candle_core::Result;
use foretoken_draft::{Accepted, DraftTree, PREDICTION};
use foretoken_model::{Logprobs, Token};

use crate::engine::Engine;
use crate::engine::scheduler::{Plan, Scheduled};
use crate::engine::sequence::Sequence;
use crate::engine::verify::Outcome;
use crate::request::{Emitted, Event, Finish, Stats};

impl Engine {
    /// Makes a step's results permanent and gives the sequences back to the scheduler, or their blocks to the pool.
    pub(crate) fn commit(
        &mut self,
        plan: Plan,
        trees: &[DraftTree],
        outcome: Outcome,
    ) -> Result<()> {
        let mut results = trees.iter().zip(outcome.accepted).zip(outcome.logprobs);
        for scheduled in plan.scheduled {
            let rooted = scheduled.reaches_root();
            let Scheduled {
                mut sequence,
                num_rows,
            } = scheduled;
            let mut ended = false;
            if rooted && let Some(((tree, accepted), logprobs)) = results.next() {
                ended = self.advance(&mut sequence, tree, &accepted, logprobs)?;
            } else {
                sequence.num_computed += num_rows;
            }
            self.publish(&mut sequence);
            match ended {
                true => self.release(sequence),
                false => self.scheduler.resume(sequence),
            }
        }
        Ok(())
    }

    /// Caches the blocks that are full. Rows of drafts that were not kept lie behind `num_computed`, never before it.
    fn publish(&mut self, sequence: &mut Sequence) {
        if self.enable_prefix_caching {
            let computed = &sequence.tokens[..sequence.num_computed];
            let salt = sequence.cache_salt.as_ref();
            self.blocks.publish(&mut sequence.table, computed, salt);
        }
    }

    /// Puts the accepted tokens behind a sequence. True if it has ended, or nobody listens.
    fn advance(
        &mut self,
        sequence: &mut Sequence,
        tree: &DraftTree,
        accepted: &Accepted,
        logprobs: Vec<Logprobs>,
    ) -> Result<bool> {
        let (tokens, finish) = self.cut(sequence, emitted(tree, accepted, logprobs));
        let brought = Brought::new(tree, &tokens);
        brought.add_to(&mut sequence.stats);
        self.meter.verified(sequence.speculation.drafter, &brought);
        // Of a path that was cut short, the last token's row is not needed: as ever, it is left to be computed.
        let path = &accepted.path[..accepted.path.len().min(tokens.len())];
        let context_len = sequence.context_len();
        self.target.keep(&sequence.table, context_len, path)?;
        sequence.num_computed = context_len + path.len();
        sequence
            .tokens
            .extend(tokens.iter().map(|emitted| emitted.token));
        sequence.mark_token();
        let ended = finish.is_some();
        let event = Event {
            tokens,
            stats: sequence.stats.clone(),
            finish,
        };
        Ok(!sequence.send(event) || ended)
    }

    /// Cuts the output at the first token that ends it.
    fn cut(&self, sequence: &Sequence, mut tokens: Vec<Emitted>) -> (Vec<Emitted>, Option<Finish>) {
        let ends = |(index, emitted): (usize, &Emitted)| {
            let finish = self.ends(sequence, emitted.token);
            finish
                .or_else(|| (index + 1 == sequence.num_left()).then_some(Finish::Length))
                .map(|f| (index, f))
        };
        let Some((index, finish)) = tokens.iter().enumerate().find_map(ends) else {
            return (tokens, None);
        };
        tokens.truncate(index + 1);
        (tokens, Some(finish))
    }

    fn ends(&self, sequence: &Sequence, token: Token) -> Option<Finish> {
        if sequence
            .stopping
            .stop_token_ids
            .binary_search(&token)
            .is_ok()
        {
            return Some(Finish::StopToken(token));
        }
        let is_eos = !sequence.stopping.ignore_eos && self.eos_token_ids.contains(&token);
        is_eos.then_some(Finish::Eos(token))
    }

    /// Shows drafters what a sequence has come to, and gives back all that it held.
    fn release(&mut self, mut sequence: Sequence) {
        self.drafters.finished(&sequence.finished());
        self.blocks.release(&mut sequence.table);
        self.forget(sequence.id);
    }
}

/// The path's tokens, each with its drafter, then the bonus token.
fn emitted(tree: &DraftTree, accepted: &Accepted, logprobs: Vec<Logprobs>) -> Vec<Emitted> {
    let path = accepted.path.iter().skip(1);
    let drafted = path.map(|&node| (tree.tokens()[node], tree.source(node)));
    let mut logprobs = logprobs.into_iter().map(Box::new);
    (drafted.chain([(accepted.bonus, None)]))
        .map(|(token, source)| Emitted {
            token,
            source,
            logprobs: logprobs.next(),
        })
        .collect()
}

/// What one verify brought one sequence.
#[derive(Debug)]
pub(crate) struct Brought {
    num_tokens: usize,
    pub(crate) num_draft_tokens: usize,
    pub(crate) num_accepted: usize,
    /// Of the draft tokens, those that were the client's prediction.
    pub(crate) num_predicted: usize,
    pub(crate) num_accepted_predicted: usize,
}

impl Brought {
    fn new(tree: &DraftTree, tokens: &[Emitted]) -> Self {
        let accepted = || tokens.iter().filter(|emitted| emitted.source.is_some());
        let predicted = |&node: &usize| tree.source(node) == Some(PREDICTION);
        Self {
            num_tokens: tokens.len(),
            num_draft_tokens: tree.num_draft_tokens(),
            num_accepted: accepted().count(),
            num_predicted: (1..tree.num_nodes()).filter(predicted).count(),
            num_accepted_predicted: accepted().filter(|emitted| emitted.is_predicted()).count(),
        }
    }

    /// Adds it to a sequence's totals.
    fn add_to(&self, stats: &mut Stats) {
        if stats.num_steps > 0 {
            stats.num_decode_tokens += self.num_tokens;
        }
        stats.num_steps += 1;
        stats.num_drafts += usize::from(self.num_draft_tokens > 0);
        stats.num_draft_tokens += self.num_draft_tokens;
        stats.num_accepted_tokens += self.num_accepted;
        stats.num_prediction_tokens += self.num_predicted;
        stats.num_accepted_prediction_tokens += self.num_accepted_predicted;
        if stats.accepted_per_pos.len() < self.num_accepted {
            stats.accepted_per_pos.resize(self.num_accepted, 0);
        }
        for count in &mut stats.accepted_per_pos[..self.num_accepted] {
            *count += 1;
        }
    }
}
