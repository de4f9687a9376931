//! The fields that completions and chat share.

use std::collections::BTreeMap;

use foretoken_model::Token;
use serde_json::{Number, Value};

use super::error::ApiError;
use super::fields::{Fields, read};
use super::leftover::Leftover;
use super::prediction::prediction;
use crate::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};

/// A whole request: what the engine is to do, and how the answer is wanted.
#[derive(Debug)]
pub(super) struct Options {
    /// For the door.
    pub(super) request: RawRequest,
    /// The answer comes piece by piece.
    pub(super) stream: bool,
    /// Which pieces state the usage.
    pub(super) usage: StreamedUsage,
    /// Answers wanted.
    pub(super) n: Option<u32>,
    /// Completions only: the prompt goes before the answer.
    pub(super) echo: bool,
}

impl Options {
    /// Reads what is left of the body once `prompt` and `logprobs`, which the endpoints write in their own ways, are
    /// taken out of it, and refuses what it does not know.
    pub(super) fn read(
        mut fields: Fields,
        prompt: Prompt,
        logprobs: Option<u32>,
    ) -> Result<Self, ApiError> {
        let stream = fields.take("stream")?.unwrap_or(false);
        let usage = streamed_usage(&mut fields, stream)?;
        let request = RawRequest {
            model: fields.take("model")?,
            prompt,
            more_prompts: Vec::new(),
            sampling: sampling(&mut fields)?,
            max_tokens: max_tokens(&mut fields)?,
            stop: stop(&mut fields)?,
            stop_token_ids: fields.take("stop_token_ids")?.unwrap_or_default(),
            include_stop_strings: fields.take("include_stop_str_in_output")?.unwrap_or(false),
            ignore_eos: fields.take("ignore_eos")?.unwrap_or(false),
            skip_special_tokens: fields.take("skip_special_tokens")?,
            priority: fields.take("priority")?,
            cache_salt: fields.take("cache_salt")?,
            logprobs,
            prediction: prediction(&mut fields)?,
            speculation: speculation(&mut fields)?,
        };
        let n = num_choices(&mut fields)?;
        fields.finish(Leftover::in_body)?;
        Ok(Self {
            request,
            stream,
            usage,
            n,
            echo: false,
        })
    }
}

/// Where a stream states the usage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum StreamedUsage {
    /// In no piece.
    Nowhere,
    /// In a piece of its own at the end.
    Last,
    /// There, and in every other piece that of its choice so far.
    Everywhere,
}

/// `continuous_usage_stats` is vLLM's.
fn streamed_usage(fields: &mut Fields, stream: bool) -> Result<StreamedUsage, ApiError> {
    fields.flatten("stream_options")?;
    let [included, continuous] = ["include_usage", "continuous_usage_stats"]
        .map(|name| fields.take::<bool>(&format!("stream_options.{name}")));
    let (included, continuous) = (included?, continuous?);
    if !stream && included.or(continuous).is_some() {
        return Err(fields.invalid("stream_options", "is for `stream: true` only"));
    }
    match (included.unwrap_or(false), continuous.unwrap_or(false)) {
        (false, false) => Ok(StreamedUsage::Nowhere),
        (true, false) => Ok(StreamedUsage::Last),
        (true, true) => Ok(StreamedUsage::Everywhere),
        (false, true) => {
            let problem = "is true, but is for `include_usage: true` only";
            Err(fields.invalid("stream_options.continuous_usage_stats", problem))
        }
    }
}

/// `best_of` would have more generated than answered, and the best by probability chosen.
fn num_choices(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let n: Option<u32> = fields.take("n")?;
    match fields.take::<u32>("best_of")? {
        Some(best_of) if best_of != n.unwrap_or(1) => {
            let n = n.unwrap_or(1);
            let problem = format!("is {best_of}, expected what `n` is, {n}, or nothing");
            Err(fields.invalid("best_of", problem))
        }
        _ => Ok(n),
    }
}

fn sampling(fields: &mut Fields) -> Result<RawSampling, ApiError> {
    let logit_bias: Option<BTreeMap<Token, f32>> = fields.take("logit_bias")?;
    Ok(RawSampling {
        temperature: fields.take("temperature")?,
        top_k: fields.take("top_k")?,
        top_p: fields.take("top_p")?,
        min_p: fields.take("min_p")?,
        presence_penalty: fields.take("presence_penalty")?,
        frequency_penalty: fields.take("frequency_penalty")?,
        repetition_penalty: fields.take("repetition_penalty")?,
        logit_bias: logit_bias.into_iter().flatten().collect(),
        seed: seed(fields)?,
    })
}

/// A negative seed means the u64 of the same bits: every seed is its own, and none means "random".
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    let Some(number) = fields.take::<Number>("seed")? else {
        return Ok(None);
    };
    let signed = number.as_i64().map(|seed| seed as u64);
    match signed.or(number.as_u64()) {
        None => {
            let problem = format!("is {number}, expected an integer of 64 bits");
            Err(fields.invalid("seed", problem))
        }
        seed => Ok(seed),
    }
}

fn max_tokens(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let old = fields.take("max_tokens")?;
    let new = fields.take("max_completion_tokens")?;
    if old.is_some() && new.is_some() {
        let problem = "is given twice, also as `max_tokens`";
        return Err(fields.invalid("max_completion_tokens", problem));
    }
    Ok(old.or(new))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let stops = match fields.take("stop")? {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop],
        Some(list) => read(fields.name("stop"), list)?,
    };
    Ok(stops)
}

/// llama.cpp's names, nested (`{"speculative": {"n_max": 16}}`) or flat (`{"speculative.n_max": 16}`).
fn speculation(fields: &mut Fields) -> Result<RawSpeculation, ApiError> {
    fields.flatten("speculative")?;
    Ok(RawSpeculation {
        drafter: fields.take("speculative.drafter")?,
        max_draft_tokens: fields.take("speculative.n_max")?,
        min_draft_tokens: fields.take("speculative.n_min")?,
        max_draft_depth: fields.take("speculative.max_depth")?,
    })
}
