//! Between the wire's types and the pipeline's.

use foretoken_proto::v1::finish_info::{FinishReason, StopReason};
use foretoken_proto::v1::{
    FinishInfo, GenerateRequest, GenerateResponse, PromptInfo, ResponseOptions, SequenceOutput,
    SpeculationStats, generate_request,
};
use tonic::Status;

use crate::generation::{Chunk, Generation, Interrupted};
use crate::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use crate::refusal::Refusal;
use crate::request::{Finish, Stats};

/// Plain decoding, by name.
const NO_DRAFTER: &str = "none";

/// The fields of a request that the door looks at.
pub(super) fn raw_request(wire: GenerateRequest) -> RawRequest {
    let sampling = wire.sampling.unwrap_or_default();
    let decoding = wire.decoding.unwrap_or_default();
    let stopping = wire.stopping.unwrap_or_default();
    let speculation = wire.speculation.unwrap_or_default();
    RawRequest {
        model: Some(wire.model).filter(|model| !model.is_empty()),
        prompt: match wire.prompt {
            None => Prompt::default(),
            Some(generate_request::Prompt::Text(text)) => Prompt::Text(text),
            Some(generate_request::Prompt::TokenIds(tokens)) => Prompt::Tokens(tokens.ids),
        },
        sampling: RawSampling {
            temperature: wire.temperature,
            top_k: sampling.top_k.map(i64::from),
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            presence_penalty: decoding.presence_penalty,
            frequency_penalty: decoding.frequency_penalty,
            repetition_penalty: decoding.repetition_penalty,
            logit_bias: decoding.logit_bias.into_iter().collect(),
            seed: sampling.seed,
        },
        max_tokens: stopping.max_new_tokens,
        stop: stopping.stop_strings,
        stop_token_ids: stopping.stop_token_ids,
        include_stop_strings: stopping.include_stop_strings,
        ignore_eos: stopping.ignore_eos,
        skip_special_tokens: wire
            .response
            .and_then(|options| options.skip_special_tokens),
        priority: wire.priority,
        cache_salt: wire.kv.and_then(|kv| kv.cache_salt),
        speculation: RawSpeculation {
            drafter: speculation.drafter,
            max_draft_tokens: speculation.max_draft_tokens,
            min_draft_tokens: speculation.min_draft_tokens,
            max_draft_depth: speculation.max_draft_depth,
        },
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = shortened(&refusal.to_string());
        match refusal {
            Refusal::UnknownModel { .. } => Self::not_found(message),
            Refusal::EmptyPrompt | Refusal::ContextLengthExceeded { .. } => {
                Self::invalid_argument(message)
            }
            Refusal::InvalidParameter { name, problem } => {
                let message = format!("`{}`: {problem}", wire_name(name));
                Self::invalid_argument(shortened(&message))
            }
            Refusal::QueueFull { .. } => Self::resource_exhausted(message),
            Refusal::Draining => Self::unavailable(message),
            Refusal::EngineDead | Refusal::Internal => Self::internal(message),
        }
    }
}

impl From<Interrupted> for Status {
    fn from(interrupted: Interrupted) -> Self {
        let message = interrupted.to_string();
        match interrupted {
            Interrupted::EngineFailed => Self::internal(message),
            Interrupted::TimedOut(_) => Self::deadline_exceeded(message),
            Interrupted::ShutDown => Self::unavailable(message),
        }
    }
}

/// Refusals quote the request, but travel in metadata, of which clients take as little as 8 KiB; a character takes
/// up to 12 bytes there.
const MAX_MESSAGE_CHARS: usize = 512;

fn shortened(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// What the .proto calls a field that the door refuses.
fn wire_name(name: &'static str) -> &'static str {
    match name {
        "max_tokens" => "max_new_tokens",
        "stop" => "stop_strings",
        same => same,
    }
}

/// Writes one request's responses.
#[derive(Debug)]
pub(super) struct ResponseWriter {
    options: ResponseOptions,
    /// Until the first response.
    prompt_info: Option<PromptInfo>,
    drafter: &'static str,
    num_output_tokens: usize,
}

impl ResponseWriter {
    /// Before the first chunk.
    pub(super) fn new(generation: &Generation, options: ResponseOptions) -> Self {
        let prompt = &generation.prompt;
        Self {
            options,
            prompt_info: Some(PromptInfo {
                num_prompt_tokens: count(prompt.len()),
                token_ids: wanted(options.prompt_token_ids, || prompt.clone()),
                seed: generation.seed,
            }),
            drafter: generation.drafter.unwrap_or(NO_DRAFTER),
            num_output_tokens: 0,
        }
    }

    /// What one chunk says.
    pub(super) fn response(&mut self, chunk: Chunk) -> GenerateResponse {
        let Chunk {
            text,
            tokens,
            stats,
            finish,
            text_lens: _,
        } = chunk;
        self.num_output_tokens += tokens.len();
        GenerateResponse {
            prompt_info: self.prompt_info.take(),
            outputs: Some(SequenceOutput {
                text: wanted(self.options.output_text.unwrap_or(true), || text),
                num_tokens: count(tokens.len()),
                token_ids: wanted(self.options.output_token_ids, || {
                    tokens.iter().map(|emitted| emitted.token).collect()
                }),
                finish_info: finish.map(|finish| self.finish_info(finish, &stats)),
            }),
        }
    }

    fn finish_info(&self, finish: Finish, stats: &Stats) -> FinishInfo {
        let (finish_reason, stop_reason) = match finish {
            Finish::Length => (FinishReason::Length, None),
            Finish::Eos(token) => (FinishReason::Stop, Some(StopReason::EosTokenId(token))),
            Finish::StopToken(token) => (FinishReason::Stop, Some(StopReason::StopTokenId(token))),
            Finish::StopString(stop) => (FinishReason::Stop, Some(StopReason::StopString(stop))),
        };
        FinishInfo {
            num_output_tokens: count(self.num_output_tokens),
            finish_reason: finish_reason.into(),
            stop_reason,
            num_cached_tokens: Some(count(stats.num_cached_tokens)),
            speculation: Some(SpeculationStats {
                drafter: self.drafter.to_owned(),
                drafts: count(stats.num_drafts),
                draft_tokens: count(stats.num_draft_tokens),
                accepted_tokens: count(stats.num_accepted_tokens),
                accepted_per_pos: stats.accepted_per_pos.iter().copied().map(count).collect(),
                mean_acceptance_length: stats.mean_acceptance_length(),
            }),
        }
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
