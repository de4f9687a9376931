//! From what the engine brought to the wire's responses.

use foretoken_proto::v1::finish_info::{FinishReason, StopReason};
use foretoken_proto::v1::{
    CandidateTokenInfo, FinishInfo, GenerateResponse, PromptInfo, ResponseOptions, SequenceOutput,
    SpeculationStats, TokenInfo,
};

use crate::choices::Choices;
use crate::generation::Chunk;
use crate::request::{Emitted, Finish, Stats};

/// Plain decoding, by name.
const NO_DRAFTER: &str = "none";

/// Writes one request's responses.
#[derive(Debug)]
pub(super) struct ResponseWriter {
    options: ResponseOptions,
    /// Until the first response.
    prompt_info: Option<PromptInfo>,
    drafter: &'static str,
    sequences: Vec<Sequence>,
}

/// What is known of one sequence.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    seed: u64,
    /// Tokens so far.
    num_tokens: usize,
}

impl ResponseWriter {
    /// Before the first chunk.
    pub(super) fn new(choices: &Choices, options: ResponseOptions) -> Self {
        let prompt = choices.prompts.first().map_or(&[][..], Vec::as_slice);
        let sequences = choices.seeds.iter().map(|&seed| Sequence {
            seed,
            num_tokens: 0,
        });
        Self {
            options,
            prompt_info: Some(PromptInfo {
                num_prompt_tokens: count(prompt.len()),
                token_ids: wanted(options.prompt_token_ids, || prompt.to_vec()),
                seed: choices.seeds.first().copied().unwrap_or_default(),
            }),
            drafter: choices.drafter.unwrap_or(NO_DRAFTER),
            sequences: sequences.collect(),
        }
    }

    /// What one chunk of the sequence `index` says.
    pub(super) fn piece(&mut self, index: usize, chunk: Chunk) -> GenerateResponse {
        GenerateResponse {
            outputs: Some(self.output(index, chunk)),
            more_outputs: Vec::new(),
            prompt_info: self.prompt_info.take(),
        }
    }

    /// What the whole answers say, which are those of all sequences in order.
    pub(super) fn whole(mut self, chunks: Vec<Chunk>) -> GenerateResponse {
        let chunks = chunks.into_iter().enumerate();
        let mut outputs = chunks.map(|(index, chunk)| self.output(index, chunk));
        GenerateResponse {
            outputs: outputs.next(),
            more_outputs: outputs.collect(),
            prompt_info: self.prompt_info,
        }
    }

    fn output(&mut self, index: usize, chunk: Chunk) -> SequenceOutput {
        let Chunk {
            text,
            tokens,
            stats,
            finish,
            places: _,
        } = chunk;
        let options = &self.options;
        let sequence = &mut self.sequences[index];
        sequence.num_tokens += tokens.len();
        let sequence = *sequence;
        let told = || {
            tokens
                .iter()
                .filter_map(|emitted| emitted.logprobs.as_deref())
        };
        SequenceOutput {
            index: count(index),
            text: wanted(options.output_text.unwrap_or(true), || text),
            num_tokens: count(tokens.len()),
            token_ids: wanted(options.output_token_ids, || {
                tokens.iter().map(|emitted| emitted.token).collect()
            }),
            logprobs: wanted(options.output_logprobs, || {
                told().map(|logprobs| logprobs.chosen).collect()
            }),
            ranks: wanted(options.output_logprobs, || {
                told().map(|logprobs| count(logprobs.rank)).collect()
            }),
            candidate_tokens: wanted(options.output_candidates.is_some(), || {
                tokens.iter().map(candidates).collect()
            }),
            finish_info: finish.map(|finish| self.finish_info(sequence, finish, &stats)),
        }
    }

    fn finish_info(&self, sequence: Sequence, finish: Finish, stats: &Stats) -> FinishInfo {
        let (finish_reason, stop_reason) = match finish {
            Finish::Length => (FinishReason::Length, None),
            Finish::Eos(token) => (FinishReason::Stop, Some(StopReason::EosTokenId(token))),
            Finish::StopToken(token) => (FinishReason::Stop, Some(StopReason::StopTokenId(token))),
            Finish::StopString(stop) => (FinishReason::Stop, Some(StopReason::StopString(stop))),
        };
        FinishInfo {
            num_output_tokens: count(sequence.num_tokens),
            finish_reason: finish_reason.into(),
            stop_reason,
            num_cached_tokens: Some(count(stats.num_cached_tokens)),
            seed: sequence.seed,
            speculation: Some(SpeculationStats {
                drafter: self.drafter.to_owned(),
                drafts: count(stats.num_drafts),
                draft_tokens: count(stats.num_draft_tokens),
                accepted_tokens: count(stats.num_accepted_tokens),
                prediction_tokens: count(stats.num_prediction_tokens),
                accepted_prediction_tokens: count(stats.num_accepted_prediction_tokens),
                accepted_per_pos: stats.accepted_per_pos.iter().copied().map(count).collect(),
                mean_acceptance_length: stats.mean_acceptance_length(),
            }),
        }
    }
}

/// The likeliest tokens at a token's place.
fn candidates(emitted: &Emitted) -> CandidateTokenInfo {
    let top = emitted.logprobs.iter().flat_map(|logprobs| &logprobs.top);
    let tokens = top
        .zip(1..)
        .map(|(&(id, logprob), rank)| TokenInfo { id, logprob, rank });
    CandidateTokenInfo {
        tokens: tokens.collect(),
    }
}

/// `value` if the client asked for it; else the empty one, which takes no bytes.
fn wanted<T: Default>(asked: bool, value: impl FnOnce() -> T) -> T {
    if asked { value() } else { T::default() }
}

/// Counts of tokens fit: a request has at most 2^32 of them.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
