//! From the wire's types to the pipeline's, and from refusals to statuses.

use foretoken_proto::v1::{GenerateRequest, ResponseOptions, generate_request};
use tonic::Status;

use crate::generation::Interrupted;
use crate::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use crate::refusal::Refusal;

/// The fields of a request that the door looks at.
pub(super) fn raw_request(wire: GenerateRequest) -> RawRequest {
    let sampling = wire.sampling.unwrap_or_default();
    let decoding = wire.decoding.unwrap_or_default();
    let stopping = wire.stopping.unwrap_or_default();
    let speculation = wire.speculation.unwrap_or_default();
    let options = wire.response.unwrap_or_default();
    RawRequest {
        model: Some(wire.model).filter(|model| !model.is_empty()),
        prompt: match wire.prompt {
            None => Prompt::default(),
            Some(generate_request::Prompt::Text(text)) => Prompt::Text(text),
            Some(generate_request::Prompt::TokenIds(tokens)) => Prompt::Tokens(tokens.ids),
        },
        more_prompts: Vec::new(),
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
        skip_special_tokens: options.skip_special_tokens,
        priority: wire.priority,
        cache_salt: wire.kv.and_then(|kv| kv.cache_salt),
        logprobs: logprobs(&options),
        prediction: wire.prediction.filter(|text| !text.is_empty()),
        speculation: RawSpeculation {
            drafter: speculation.drafter,
            max_draft_tokens: speculation.max_draft_tokens,
            min_draft_tokens: speculation.min_draft_tokens,
            max_draft_depth: speculation.max_draft_depth,
        },
    }
}

/// How many of the likeliest tokens the engine is to tell beside each token, if any is told at all.
fn logprobs(options: &ResponseOptions) -> Option<u32> {
    match options.output_candidates {
        Some(candidates) => Some(candidates.top_n.unwrap_or(0)),
        None => options.output_logprobs.then_some(0),
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
            Refusal::QueueFull { needed, all, .. } if needed > all => {
                Self::invalid_argument(message)
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
        "n" => "num_sequences",
        "logprobs" => "top_n",
        same => same,
    }
}
