//! What a request's fields may be: each is checked once, and filled in where it is missing.

use std::sync::Arc;

use foretoken_draft::DraftTree;
use foretoken_model::{SamplingParams, Token};

use crate::admission::Frontend;
use crate::raw_request::{RawRequest, RawSampling, RawSpeculation};
use crate::refusal::Refusal;
use crate::request::Speculation;

impl Frontend {
    /// Checks the stop strings and gives the stop tokens, sorted. Both are looked at for every token that comes out.
    pub(crate) fn stops(&self, raw: &RawRequest) -> Result<Vec<Token>, Refusal> {
        if raw.stop.len() > MAX_STOPS {
            let problem = format!(
                "holds {} strings, expected at most {MAX_STOPS}",
                raw.stop.len()
            );
            return Err(Refusal::invalid("stop", problem));
        }
        for stop in &raw.stop {
            let problem = match stop.len() {
                0 => "holds an empty string".to_owned(),
                1..=MAX_STOP_BYTES => continue,
                len => format!("holds a string of {len} bytes, expected at most {MAX_STOP_BYTES}"),
            };
            return Err(Refusal::invalid("stop", problem));
        }
        let mut tokens = raw.stop_token_ids.clone();
        tokens.sort_unstable();
        tokens.dedup();
        for &token in &tokens {
            self.check_token("stop_token_ids", token)?;
        }
        Ok(tokens)
    }

    pub(crate) fn logprobs(&self, asked: Option<u32>) -> Result<Option<usize>, Refusal> {
        match asked {
            Some(asked) if asked > MAX_LOGPROBS => Err(Refusal::invalid(
                "logprobs",
                format!("is {asked}, expected 0 to {MAX_LOGPROBS}"),
            )),
            asked => Ok(asked.map(|asked| asked as usize)),
        }
    }

    /// How many answers are wanted; each takes a place in the queue.
    pub(crate) fn num_choices(&self, asked: Option<u32>) -> Result<u32, Refusal> {
        match asked.unwrap_or(1) {
            asked if (1..=MAX_CHOICES).contains(&asked) => Ok(asked),
            asked => Err(Refusal::invalid(
                "n",
                format!("is {asked}, expected 1 to {MAX_CHOICES}"),
            )),
        }
    }

    pub(crate) fn cache_salt(&self, raw: Option<&str>) -> Result<Option<Arc<str>>, Refusal> {
        let problem = match raw {
            None => return Ok(None),
            Some("") => "is empty".to_owned(),
            Some(salt) if salt.len() > MAX_SALT_BYTES => {
                format!(
                    "has {} bytes, expected at most {MAX_SALT_BYTES}",
                    salt.len()
                )
            }
            Some(salt) => return Ok(Some(salt.into())),
        };
        Err(Refusal::invalid("cache_salt", problem))
    }

    /// The prediction's tokens. It is none of the model's own text, so no special tokens are added.
    pub(crate) fn prediction(&self, raw: Option<&str>) -> Result<Vec<Token>, Refusal> {
        let most = self.limits().max_model_len;
        let check = |num_tokens: usize, least: &str| match num_tokens <= most {
            true => Ok(()),
            false => Err(Refusal::invalid(
                "prediction",
                format!(
                    "has {least}{num_tokens} tokens, expected at most {most}, the context's length"
                ),
            )),
        };
        let text = raw.unwrap_or_default();
        let tokenizer = &self.model().tokenizer;
        // What is too long is not worth the time that it takes to tokenise it.
        check(tokenizer.least_tokens(text.len()), "at least ")?;
        let tokens = (tokenizer.encode(text, false))
            .map_err(|error| Refusal::invalid("prediction", error))?;
        check(tokens.len(), "")?;
        Ok(tokens)
    }

    pub(crate) fn max_tokens(
        &self,
        num_prompt_tokens: usize,
        asked: Option<u32>,
    ) -> Result<usize, Refusal> {
        if num_prompt_tokens == 0 {
            return Err(Refusal::EmptyPrompt);
        }
        if asked == Some(0) {
            return Err(Refusal::invalid("max_tokens", "is 0, expected at least 1"));
        }
        let room = self
            .limits()
            .max_model_len
            .saturating_sub(num_prompt_tokens);
        let max_tokens = asked.map_or(room.max(1), |asked| asked as usize);
        if max_tokens > room {
            return Err(Refusal::ContextLengthExceeded {
                num_prompt_tokens,
                max_tokens,
                max_model_len: self.limits().max_model_len,
            });
        }
        Ok(max_tokens)
    }

    pub(crate) fn sampling(&self, raw: &RawSampling) -> Result<SamplingParams, Refusal> {
        let defaults = &self.model().defaults;
        let top_k = match raw.top_k {
            None => defaults.top_k,
            Some(-1) => 0,
            Some(k) => u32::try_from(k).map_err(|_| {
                Refusal::invalid("top_k", format!("is {k}, expected -1, 0 or more"))
            })?,
        };
        for &(token, bias) in &raw.logit_bias {
            self.check_token("logit_bias", token)?;
            within("logit_bias", Some(bias), 0.0, "from -100 to 100", |v| {
                v.abs() <= 100.0
            })?;
        }
        let penalty =
            |name, value, default| within(name, value, default, "from -2 to 2", |v| v.abs() <= 2.0);
        Ok(SamplingParams {
            temperature: within(
                "temperature",
                raw.temperature,
                defaults.temperature,
                "0 or more",
                |v| v >= 0.0 && v.is_finite(),
            )?,
            top_k,
            top_p: within(
                "top_p",
                raw.top_p,
                defaults.top_p,
                "above 0, up to 1",
                |v| v > 0.0 && v <= 1.0,
            )?,
            min_p: within("min_p", raw.min_p, defaults.min_p, "from 0 to 1", |v| {
                (0.0..=1.0).contains(&v)
            })?,
            presence_penalty: penalty(
                "presence_penalty",
                raw.presence_penalty,
                defaults.presence_penalty,
            )?,
            frequency_penalty: penalty(
                "frequency_penalty",
                raw.frequency_penalty,
                defaults.frequency_penalty,
            )?,
            repetition_penalty: within(
                "repetition_penalty",
                raw.repetition_penalty,
                defaults.repetition_penalty,
                "above 0",
                |v| v > 0.0 && v.is_finite(),
            )?,
            logit_bias: raw.logit_bias.clone(),
            // 53 bits, so that a given seed survives every wire type on its way out and in again, JavaScript's numbers too.
            seed: raw.seed.unwrap_or_else(|| rand::random::<u64>() >> 11),
        })
    }

    pub(crate) fn speculation(&self, raw: &RawSpeculation) -> Result<Speculation, Refusal> {
        let defaults = &self.limits().speculation;
        let limit = |name, value: Option<u32>, default: usize, least: usize| match value {
            None => Ok(default),
            Some(value) if (least..=MAX_DRAFT_TOKENS).contains(&(value as usize)) => {
                Ok(value as usize)
            }
            Some(value) => Err(Refusal::invalid(
                name,
                format!("is {value}, expected {least} to {MAX_DRAFT_TOKENS}"),
            )),
        };
        let max_draft_tokens = limit(
            "max_draft_tokens",
            raw.max_draft_tokens,
            defaults.max_draft_tokens,
            0,
        )?;
        let default_min = defaults.min_draft_tokens.min(max_draft_tokens);
        let min_draft_tokens = limit("min_draft_tokens", raw.min_draft_tokens, default_min, 0)?;
        if min_draft_tokens > max_draft_tokens {
            return Err(Refusal::invalid(
                "min_draft_tokens",
                format!(
                    "is {min_draft_tokens}, more than the {max_draft_tokens} draft tokens there may be"
                ),
            ));
        }
        let drafter = match raw.drafter.as_deref() {
            None => defaults.drafter,
            Some("none") => None,
            Some(name) => Some(self.drafter(name)?),
        };
        Ok(Speculation {
            drafter: drafter.filter(|_| max_draft_tokens > 0),
            max_draft_tokens,
            min_draft_tokens,
            max_draft_depth: limit(
                "max_draft_depth",
                raw.max_draft_depth,
                defaults.max_draft_depth,
                1,
            )?,
        })
    }

    fn drafter(&self, name: &str) -> Result<&'static str, Refusal> {
        self.drafters()
            .iter()
            .copied()
            .find(|&known| known == name)
            .ok_or_else(|| {
                Refusal::invalid(
                    "drafter",
                    format!(
                        "is `{name}`, expected `none` or one of: {}",
                        self.drafters().join(", ")
                    ),
                )
            })
    }
}

/// Most nodes that a tree holds beside its root.
pub(crate) const MAX_DRAFT_TOKENS: usize = DraftTree::MAX_NODES - 1;

/// Stop strings that a request may state.
const MAX_STOPS: usize = 16;

/// Length of a stop string.
const MAX_STOP_BYTES: usize = 1024;

/// Likeliest tokens that are told at a place.
pub(crate) const MAX_LOGPROBS: u32 = 20;

/// Answers to one request.
const MAX_CHOICES: u32 = 128;

/// Length of a salt.
const MAX_SALT_BYTES: usize = 1024;

/// `value`, or `default`, if `holds` says yes to it; NaN never passes.
fn within(
    name: &'static str,
    value: Option<f32>,
    default: f32,
    expected: &str,
    holds: impl Fn(f32) -> bool,
) -> Result<f32, Refusal> {
    match value {
        None => Ok(default),
        Some(value) if holds(value) => Ok(value),
        Some(value) => Err(Refusal::invalid(
            name,
            format!("is {value}, expected {expected}"),
        )),
    }
}
