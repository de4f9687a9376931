//! The door: raw fields become a `Request` or a `Refusal`, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foretoken_draft::DraftTree;
use foretoken_model::chat_template::ChatTemplate;
use foretoken_model::{SamplingParams, Token, Tokenizer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::detokenize::TextStream;
use crate::generation::Generation;
use crate::raw_request::{Prompt, RawRequest, RawSampling, RawSpeculation};
use crate::refusal::Refusal;
use crate::request::{Request, Speculation, Stopping};

/// The edge's handle on the engine: everything that turns a [`RawRequest`] into a running [`Generation`].
#[derive(Debug)]
pub struct Frontend {
    model: ServedModel,
    limits: Limits,
    /// Names of the drafters that the engine has.
    drafters: Vec<&'static str>,
    /// One permit for each request that may run or wait.
    permits: Arc<Semaphore>,
    /// Nothing new is taken.
    draining: AtomicBool,
    /// Its receiver is the engine's: closed means that the engine is gone.
    inbox: mpsc::UnboundedSender<Request>,
}

/// The model as the edge sees it.
#[derive(Debug)]
pub struct ServedModel {
    /// Names that requests may use; the first is shown.
    pub names: Vec<String>,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// None if the model is not a chat model.
    pub chat_template: Option<ChatTemplate>,
    /// Sampling where a request states none; its seed is not used.
    pub defaults: SamplingParams,
    /// Ids from here on do not exist.
    pub vocab_size: usize,
}

/// What the server grants a request.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tokens of prompt and output together.
    pub max_model_len: usize,
    /// Requests that may run or wait.
    pub max_num_requests: usize,
    /// Drafting where a request states none.
    pub speculation: Speculation,
}

impl Frontend {
    /// The handle, and the inbox for the engine to read.
    pub fn new(
        model: ServedModel,
        limits: Limits,
        drafters: Vec<&'static str>,
    ) -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (inbox, requests) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(limits.max_num_requests));
        (
            Self {
                model,
                limits,
                drafters,
                permits,
                draining: AtomicBool::new(false),
                inbox,
            },
            requests,
        )
    }

    /// The model that is served.
    pub fn model(&self) -> &ServedModel {
        &self.model
    }

    /// What the server grants a request.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes nothing new from now on; what runs goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Resolves when no request runs or waits, after [`Frontend::drain`].
    pub async fn drained(&self) {
        let all = u32::try_from(self.limits.max_num_requests).unwrap_or(u32::MAX);
        // Every permit comes back with its request; none is given out again.
        _ = self.permits.acquire_many(all).await;
    }

    /// True while the engine runs.
    pub fn is_alive(&self) -> bool {
        !self.inbox.is_closed()
    }

    /// True if a request could be admitted now, room in the queue aside.
    pub fn is_ready(&self) -> bool {
        self.is_alive() && !self.draining.load(Ordering::Acquire)
    }

    /// Resolves when the engine is gone.
    pub async fn engine_gone(&self) {
        self.inbox.closed().await;
    }

    /// Validates, tokenises and queues a request. Refuses at once where it cannot wait.
    pub async fn admit(self: &Arc<Self>, raw: RawRequest) -> Result<Generation, Refusal> {
        if !self.is_alive() {
            return Err(Refusal::EngineDead);
        }
        if !self.is_ready() {
            return Err(Refusal::Draining);
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::QueueFull {
            limit: self.limits.max_num_requests,
        })?;
        // Long prompts take milliseconds to tokenise, which would hold up the door's other clients.
        let frontend = Arc::clone(self);
        tokio::task::spawn_blocking(move || frontend.admit_blocking(raw, permit))
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "admission failed");
                Err(Refusal::Internal)
            })
    }

    fn admit_blocking(
        &self,
        raw: RawRequest,
        permit: OwnedSemaphorePermit,
    ) -> Result<Generation, Refusal> {
        self.check_model(raw.model.as_deref())?;
        let sampling = self.sampling(&raw.sampling)?;
        let speculation = self.speculation(&raw.speculation)?;
        let stop_token_ids = self.stops(&raw)?;
        let prompt = self.tokenize(&raw.prompt)?;
        // A tokenizer may know more tokens than the model has rows for.
        for &token in &prompt {
            self.check_token("prompt", token)?;
        }
        let max_tokens = self.max_tokens(prompt.len(), raw.max_tokens)?;

        let (events, receiver) = mpsc::channel(max_tokens + 1);
        let generation = Generation {
            prompt: prompt.clone(),
            seed: sampling.seed,
            drafter: speculation.drafter,
            events: receiver,
            text: TextStream::new(
                Arc::clone(&self.model.tokenizer),
                raw.stop,
                raw.include_stop_strings,
                raw.skip_special_tokens.unwrap_or(true),
            ),
            include_stop: raw.include_stop_strings,
            finished: false,
        };
        let stopping = Stopping {
            max_tokens,
            stop_token_ids,
            ignore_eos: raw.ignore_eos,
        };
        self.inbox
            .send(Request {
                prompt,
                sampling,
                stopping,
                speculation,
                events,
                permit,
            })
            .map_err(|_| Refusal::EngineDead)?;
        Ok(generation)
    }

    /// Checks the stop strings and gives the stop tokens, sorted. Both are looked at for every token that comes out.
    fn stops(&self, raw: &RawRequest) -> Result<Vec<Token>, Refusal> {
        if raw.stop.len() > MAX_STOPS {
            let problem = format!(
                "holds {} strings, expected at most {MAX_STOPS}",
                raw.stop.len()
            );
            return Err(invalid("stop", problem));
        }
        for stop in &raw.stop {
            let problem = match stop.len() {
                0 => "holds an empty string".to_owned(),
                1..=MAX_STOP_BYTES => continue,
                len => format!("holds a string of {len} bytes, expected at most {MAX_STOP_BYTES}"),
            };
            return Err(invalid("stop", problem));
        }
        let mut tokens = raw.stop_token_ids.clone();
        tokens.sort_unstable();
        tokens.dedup();
        for &token in &tokens {
            self.check_token("stop_token_ids", token)?;
        }
        Ok(tokens)
    }

    /// Refuses a model name that is not served; no name means the one there is.
    pub fn check_model(&self, requested: Option<&str>) -> Result<(), Refusal> {
        match requested {
            Some(name) if !self.model.names.iter().any(|served| served == name) => {
                Err(Refusal::UnknownModel {
                    requested: name.to_owned(),
                    served: self.model.names.first().cloned().unwrap_or_default(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The prompt's tokens; empty only if the prompt is.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<Token>, Refusal> {
        let encode = |text: &str, add_special_tokens| {
            // What cannot fit is not worth the time that it takes to tokenise it.
            let least = self.model.tokenizer.least_tokens(text.len());
            if least > self.limits.max_model_len {
                return Err(Refusal::ContextLengthExceeded {
                    num_prompt_tokens: least,
                    max_tokens: 1,
                    max_model_len: self.limits.max_model_len,
                });
            }
            self.model
                .tokenizer
                .encode(text, add_special_tokens)
                .map_err(|error| invalid("prompt", error))
        };
        match prompt {
            Prompt::Text(text) => encode(text, true),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Chat(messages) => {
                if messages.is_empty() {
                    return Err(Refusal::EmptyPrompt);
                }
                let template = self.model.chat_template.as_ref().ok_or_else(|| {
                    invalid(
                        "messages",
                        "this model has no chat template; use completions",
                    )
                })?;
                encode(
                    &template
                        .render(messages)
                        .map_err(|error| invalid("messages", error))?,
                    false,
                )
            }
        }
    }

    /// Refuses a token id that does not exist, as the field `name`.
    pub fn check_token(&self, name: &'static str, token: Token) -> Result<(), Refusal> {
        if (token as usize) < self.model.vocab_size {
            return Ok(());
        }
        let vocab_size = self.model.vocab_size;
        Err(invalid(
            name,
            format!("token id {token} is outside the vocabulary of {vocab_size}"),
        ))
    }

    fn max_tokens(&self, num_prompt_tokens: usize, asked: Option<u32>) -> Result<usize, Refusal> {
        if num_prompt_tokens == 0 {
            return Err(Refusal::EmptyPrompt);
        }
        if asked == Some(0) {
            return Err(invalid("max_tokens", "is 0, expected at least 1"));
        }
        let room = self.limits.max_model_len.saturating_sub(num_prompt_tokens);
        let max_tokens = asked.map_or(room.max(1), |asked| asked as usize);
        if max_tokens > room {
            return Err(Refusal::ContextLengthExceeded {
                num_prompt_tokens,
                max_tokens,
                max_model_len: self.limits.max_model_len,
            });
        }
        Ok(max_tokens)
    }

    fn sampling(&self, raw: &RawSampling) -> Result<SamplingParams, Refusal> {
        let defaults = &self.model.defaults;
        let top_k = match raw.top_k {
            None => defaults.top_k,
            Some(-1) => 0,
            Some(k) => u32::try_from(k)
                .map_err(|_| invalid("top_k", format!("is {k}, expected -1, 0 or more")))?,
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

    fn speculation(&self, raw: &RawSpeculation) -> Result<Speculation, Refusal> {
        let defaults = &self.limits.speculation;
        let limit = |name, value: Option<u32>, default: usize, least: usize| match value {
            None => Ok(default),
            Some(value) if (least..=MAX_DRAFT_TOKENS).contains(&(value as usize)) => {
                Ok(value as usize)
            }
            Some(value) => Err(invalid(
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
            return Err(invalid(
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
        self.drafters
            .iter()
            .copied()
            .find(|&known| known == name)
            .ok_or_else(|| {
                invalid(
                    "drafter",
                    format!(
                        "is `{name}`, expected `none` or one of: {}",
                        self.drafters.join(", ")
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

fn invalid(name: &'static str, problem: impl ToString) -> Refusal {
    Refusal::InvalidParameter {
        name,
        problem: problem.to_string(),
    }
}

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
        Some(value) => Err(invalid(name, format!("is {value}, expected {expected}"))),
    }
}
