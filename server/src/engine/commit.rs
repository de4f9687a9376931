//! Accepted paths become tokens: cut where the output ends, counted, sent, and kept in the cache.

use candle_core::Result;
use foretoken_draft::{Accepted, DraftTree};
use foretoken_model::{Logprobs, Token};

use crate::engine::Engine;
use crate::engine::scheduler::{Plan, Scheduled};
use crate::engine::sequence::Sequence;
use crate::engine::verify::Outcome;
use crate::request::{Emitted, Event, Finish};

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
        let num_accepted = count(sequence, tree, &tokens);
        let drafter = sequence.speculation.drafter;
        self.meter
            .verified(drafter, tree.num_draft_tokens(), num_accepted);
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

    /// Gives back all that a sequence held.
    fn release(&mut self, mut sequence: Sequence) {
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

/// Adds a step to a sequence's totals. Gives the number of draft tokens that were kept.
fn count(sequence: &mut Sequence, tree: &DraftTree, tokens: &[Emitted]) -> usize {
    let stats = &mut sequence.stats;
    let num_accepted = tokens
        .iter()
        .filter(|emitted| emitted.source.is_some())
        .count();
    if stats.num_steps > 0 {
        stats.num_decode_tokens += tokens.len();
    }
    stats.num_steps += 1;
    stats.num_drafts += usize::from(tree.num_draft_tokens() > 0);
    stats.num_draft_tokens += tree.num_draft_tokens();
    stats.num_accepted_tokens += num_accepted;
    if stats.accepted_per_pos.len() < num_accepted {
        stats.accepted_per_pos.resize(num_accepted, 0);
    }
    for count in &mut stats.accepted_per_pos[..num_accepted] {
        *count += 1;
    }
    num_accepted
}
