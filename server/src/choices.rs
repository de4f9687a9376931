//! The answers to one request that wants several, to one prompt or to each of several: each is a request of its own to
//! the engine, with a seed of its own.

use foretoken_model::{Token, split_mix64};
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt};

use crate::generation::{Chunk, Generation, Interrupted};
use crate::request_span::RequestRecord;

/// A running request's choices. Dropping it is how a client leaves: the engine then frees what all of them held.
pub struct Choices {
    /// The tokenised prompts. Each has as many choices, those of the first come first.
    pub prompts: Vec<Vec<Token>>,
    /// By choice: its seed.
    pub seeds: Vec<u64>,
    /// The drafter in use; none is plain decoding.
    pub drafter: Option<&'static str>,
    running: SelectAll<BoxStream<'static, (usize, Result<Chunk, Interrupted>)>>,
    record: RequestRecord,
}

impl Choices {
    /// The choices of one request, in order, at least one for each of `num_prompts`. The span in which it is called is
    /// filled with what becomes of them.
    pub fn new(generations: Vec<Generation>, num_prompts: usize) -> Self {
        let per_prompt = (generations.len() / num_prompts.max(1)).max(1);
        let firsts = generations.iter().step_by(per_prompt);
        let prompts: Vec<Vec<Token>> = firsts.map(|first| first.prompt.clone()).collect();
        let drafter = generations.first().and_then(|first| first.drafter);
        let num_prompt_tokens = prompts.iter().map(Vec::len).sum();
        Self {
            seeds: generations.iter().map(|choice| choice.seed).collect(),
            record: RequestRecord::new(generations.len(), num_prompt_tokens, drafter),
            prompts,
            drafter,
            running: stream::select_all(generations.into_iter().enumerate().map(chunks)),
        }
    }

    /// How many there are.
    pub fn num_choices(&self) -> usize {
        self.seeds.len()
    }

    /// Which prompt the choice `index` is for.
    pub fn prompt_of(&self, index: usize) -> usize {
        index * self.prompts.len() / self.num_choices()
    }

    /// The next chunk of any choice, with that choice's index; none when all have ended, or one has been interrupted.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<(usize, Result<Chunk, Interrupted>)> {
        let next = self.running.next().await;
        match &next {
            Some((index, Ok(chunk))) => self.record.chunk(*index, chunk),
            // Half an answer is none: the other choices are given up.
            Some((_, Err(_))) => self.running.clear(),
            None => {}
        }
        next
    }

    /// The whole answers, each as one chunk, in order.
    pub async fn collect(mut self) -> Result<Vec<Chunk>, Interrupted> {
        let mut whole: Vec<Option<Chunk>> = vec![None; self.num_choices()];
        while let Some((index, chunk)) = self.next().await {
            let chunk = chunk?;
            match &mut whole[index] {
                Some(whole) => whole.append(chunk),
                empty => *empty = Some(chunk),
            }
        }
        (whole.into_iter())
            .map(|whole| whole.ok_or(Interrupted::EngineFailed))
            .collect()
    }
}

/// The seed of the choice `index`: the request's own for the first, for the others output `index` of SplitMix64 without
/// its low 11 bits. A request of one choice with this seed says what the choice says.
///
/// 53 bits survive every wire type, as those do that a request without a seed is given.
pub fn choice_seed(seed: u64, index: usize) -> u64 {
    match index {
        0 => seed,
        _ => split_mix64(seed, index as u64) >> 11,
    }
}

fn chunks(
    (index, generation): (usize, Generation),
) -> BoxStream<'static, (usize, Result<Chunk, Interrupted>)> {
    stream::unfold(generation, move |mut generation| async move {
        let chunk = generation.next().await?;
        Some(((index, chunk), generation))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_those_of_splitmix64() {
        // Its reference outputs for the seed 0, and what a client may have written down.
        assert_eq!(choice_seed(0, 0), 0);
        assert_eq!(choice_seed(0, 1), 0xe220_a839_7b1d_cdaf >> 11);
        assert_eq!(choice_seed(0, 2), 0x6e78_9e6a_a1b9_65f4 >> 11);
        assert_eq!(choice_seed(u64::MAX, 0), u64::MAX);
        let seeds: std::collections::BTreeSet<u64> = (0..128).map(|i| choice_seed(7, i)).collect();
        assert_eq!(seeds.len(), 128);
    }
}
