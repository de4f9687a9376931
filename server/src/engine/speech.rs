//! What the target says after the nodes of trees.
//!
//! The CPU draws a token when the path comes to its node, so that no others are drawn. A GPU draws after all nodes of a
//! step in one launch, and only tokens come back: to copy a node's logits takes longer than to draw from them. Which of
//! the two it is changes no token, since noise is a function of seed and position.

use candle_core::Result;
use foretoken_draft::{DraftTree, Node};
use foretoken_model::{LogitRows, Logits, Logprobs, RowSampling, Token, sample_rows};

use crate::engine::sequence::Sequence;

/// What the target says after the nodes of one tree.
#[derive(Debug)]
pub(crate) enum Speech<'a> {
    /// By node: drawn already, all of them.
    Drawn(Vec<Token>),
    /// By node: what is drawn from.
    Logits(LogitRows<'a>),
}

/// What is said after each of some trees, whose nodes are the rows of `logits`, one tree after another.
///
/// `draws_ahead`: whether nodes are drawn where their logits lie. Where a row does not tell alone, or its logits are
/// wanted too, they come to the host in any case.
pub(crate) fn speeches<'a>(
    logits: &Logits<'a>,
    rooted: &[(&Sequence, &DraftTree)],
    draws_ahead: bool,
) -> Result<Vec<Speech<'a>>> {
    let draws: Vec<Option<RowSampling>> = (rooted.iter())
        .flat_map(|&(sequence, tree)| (0..tree.num_nodes()).map(move |node| (sequence, tree, node)))
        .map(|(sequence, tree, node)| match draws_ahead {
            true => sequence.row_sampling(sequence.position_after(tree, node)),
            false => None,
        })
        .collect();
    let tokens = draw(logits, &draws)?;
    let mut first = 0;
    (rooted.iter())
        .map(|(_, tree)| {
            let nodes = first..first + tree.num_nodes();
            first = nodes.end;
            // One request's nodes are all drawn alike.
            match draws[nodes.start] {
                Some(_) => Ok(Speech::Drawn(tokens[nodes].to_vec())),
                None => Ok(Speech::Logits(logits.read(nodes)?)),
            }
        })
        .collect()
}

/// Draws all rows in one launch, those too that are not to be drawn, which are few and nobody asks for; no tokens if
/// there are only such.
fn draw(logits: &Logits<'_>, draws: &[Option<RowSampling>]) -> Result<Vec<Token>> {
    let Some(&filler) = draws.iter().flatten().next() else {
        return Ok(Vec::new());
    };
    let rows: Vec<RowSampling> = draws.iter().map(|draw| draw.unwrap_or(filler)).collect();
    sample_rows(&logits.tensor()?, &rows, &[])
}

impl Speech<'_> {
    /// The token after a node of the sequence's tree, and what the request wants to be told of it.
    pub(crate) fn sample(
        &self,
        tree: &DraftTree,
        node: Node,
        sequence: &mut Sequence,
    ) -> (Token, Option<Logprobs>) {
        let rows = match self {
            Self::Drawn(tokens) => return (tokens[node], None),
            Self::Logits(rows) => rows,
        };
        let (logits, position) = (rows.row(node), sequence.position_after(tree, node));
        let token = sequence.sampler.sample(logits, position);
        let told = (sequence.logprobs).map(|num_top| Logprobs::new(logits, token, num_top));
        (token, told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Tensor};
    use foretoken_model::{SamplingParams, SeqId};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::request::{Request, Speculation, Stopping};

    fn sequence(sampling: SamplingParams, logprobs: Option<usize>) -> Sequence {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let request = Request {
            prompt: vec![1, 2, 3],
            sampling,
            stopping: Stopping {
                max_tokens: 9,
                stop_token_ids: Vec::new(),
                ignore_eos: true,
            },
            speculation: Speculation {
                drafter: None,
                max_draft_tokens: 0,
                min_draft_tokens: 0,
                max_draft_depth: 63,
            },
            prediction: Arc::default(),
            logprobs,
            priority: 0,
            cache_salt: None,
            events: mpsc::channel(1).0,
            permit,
        };
        Sequence::new(SeqId(0), request)
    }

    #[test]
    fn rows_that_tell_alone_are_drawn_ahead_and_say_what_they_say_drawn_from() {
        let hot = |seed| SamplingParams {
            temperature: 1.0,
            seed,
            ..SamplingParams::greedy()
        };
        let filtered = SamplingParams {
            top_k: 20,
            top_p: 0.9,
            min_p: 0.01,
            ..hot(2)
        };
        let penalised = SamplingParams {
            repetition_penalty: 1.3,
            ..hot(3)
        };
        let biased = SamplingParams {
            logit_bias: vec![(4, 2.0)],
            ..hot(4)
        };
        // Below what counts as 0.
        let cold = SamplingParams {
            temperature: 1e-6,
            ..SamplingParams::greedy()
        };
        let requests = [
            (hot(1), None, true),
            (penalised, None, false),
            (filtered, None, true),
            (biased, None, false),
            (hot(5), Some(2), false),
            (cold, None, true),
            (SamplingParams::greedy(), None, true),
        ];
        let mut tree = DraftTree::new(3);
        for (parent, token) in [(0, 5), (0, 6), (1, 7), (2, 7)] {
            tree.push(parent, token, 0.5, "test").unwrap();
        }
        let (num_rows, vocab) = (requests.len() * tree.num_nodes(), 100);
        let scores: Vec<f32> = (0..num_rows * vocab)
            .map(|index| (index as f32 * 12.9898).sin() * 43_758.547 % 4.0)
            .collect();
        let scores = Tensor::from_vec(scores, (num_rows, vocab), &Device::Cpu).unwrap();
        let logits = Logits::new(&scores, num_rows).unwrap();
        let said = |draws_ahead: bool| {
            let mut sequences = (requests.iter())
                .map(|(sampling, logprobs, _)| sequence(sampling.clone(), *logprobs))
                .collect::<Vec<_>>();
            let rooted: Vec<_> = sequences.iter().map(|sequence| (sequence, &tree)).collect();
            let speeches = speeches(&logits, &rooted, draws_ahead).unwrap();
            for (speech, (_, _, tells_alone)) in speeches.iter().zip(&requests) {
                let is_drawn = matches!(speech, Speech::Drawn(_));
                assert_eq!(is_drawn, draws_ahead && *tells_alone);
            }
            let each = speeches.iter().zip(&mut sequences);
            each.map(|(speech, sequence)| {
                [0, 2, 4].map(|node| speech.sample(&tree, node, sequence))
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(said(true), said(false));
    }
}
