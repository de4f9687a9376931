//! The door: raw fields become a `Request` or a `Refusal`, once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foretoken_model::chat_template::ChatTemplate;
use foretoken_model::{SamplingParams, Token, Tokenizer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::Span;

use crate::choices::choice_seed;
use crate::detokenize::TextStream;
use crate::generation::Generation;
use crate::lifetime::{Lifetime, Stage};
use crate::metrics::Metrics;
use crate::raw_request::{Prompt, RawRequest};
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
    stage: watch::Sender<Stage>,
    /// Its receiver is the engine's: closed means that the engine is gone. None once it is dismissed.
    inbox: Mutex<Option<mpsc::UnboundedSender<Request>>>,
    metrics: Metrics,
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

impl ServedModel {
    /// The name that is shown.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// What the server grants a request.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tokens of prompt and output together.
    pub max_model_len: usize,
    /// Requests that may run or wait.
    pub max_num_requests: usize,
    /// How long a request may wait and run.
    pub request_timeout: Option<Duration>,
    /// Drafting where a request states none.
    pub speculation: Speculation,
}

/// A request with nothing wrong in it.
struct Checked {
    prompt: Vec<Token>,
    sampling: SamplingParams,
    stopping: Stopping,
    speculation: Speculation,
    prediction: Arc<[Token]>,
    logprobs: Option<usize>,
    cache_salt: Option<Arc<str>>,
    /// The fields that need no check.
    raw: RawRequest,
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
                stage: watch::Sender::new(Stage::Open),
                inbox: Mutex::new(Some(inbox)),
                metrics: Metrics::new(),
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

    /// Names of the drafters that the engine has.
    pub fn drafters(&self) -> &[&'static str] {
        &self.drafters
    }

    /// What is counted of this server.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes nothing new from now on; what runs goes on.
    pub fn drain(&self) {
        self.proceed(Stage::Draining);
    }

    /// Cuts off what still runs.
    pub fn close(&self) {
        self.proceed(Stage::Closed);
    }

    /// Lets the engine end when its requests have: no more can come.
    pub fn dismiss(&self) {
        self.drain();
        *self.lock_inbox() = None;
    }

    /// The way to the engine, until it is dismissed.
    fn inbox(&self) -> Option<mpsc::UnboundedSender<Request>> {
        self.lock_inbox().clone()
    }

    fn lock_inbox(&self) -> MutexGuard<'_, Option<mpsc::UnboundedSender<Request>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proceed(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let is_later = to > *stage;
            *stage = to.max(*stage);
            is_later
        });
    }

    /// Resolves when no request runs or waits, after [`Frontend::drain`].
    pub async fn drained(&self) {
        let all = u32::try_from(self.limits.max_num_requests).unwrap_or(u32::MAX);
        // Every permit comes back with its request; none is given out again.
        _ = self.permits.acquire_many(all).await;
    }

    /// True while the engine runs.
    pub fn is_alive(&self) -> bool {
        self.inbox().is_some_and(|inbox| !inbox.is_closed())
    }

    /// True if a request could be admitted now, room in the queue aside.
    pub fn is_ready(&self) -> bool {
        self.is_alive() && *self.stage.borrow() == Stage::Open
    }

    /// Resolves when the engine is gone.
    pub async fn engine_gone(&self) {
        if let Some(inbox) = self.inbox() {
            inbox.closed().await;
        }
    }

    /// Refuses what could not be admitted now, whatever it asks for.
    pub fn check_room(&self) -> Result<(), Refusal> {
        self.has_room()
            .inspect_err(|refusal| self.note_refusal(refusal))
    }

    fn has_room(&self) -> Result<(), Refusal> {
        if !self.is_alive() {
            return Err(Refusal::EngineDead);
        }
        if !self.is_ready() {
            return Err(Refusal::Draining);
        }
        if self.permits.available_permits() == 0 {
            return Err(self.queue_full());
        }
        Ok(())
    }

    fn note_refusal(&self, refusal: &Refusal) {
        tracing::debug!(%refusal, "a request is not admitted");
        self.metrics.refused(refusal);
    }

    fn queue_full(&self) -> Refusal {
        Refusal::QueueFull {
            limit: self.limits.max_num_requests,
        }
    }

    /// Validates, tokenises and queues a request. Refuses at once where it cannot wait.
    pub async fn admit(self: &Arc<Self>, raw: RawRequest) -> Result<Generation, Refusal> {
        let mut choices = self.admit_choices(raw, None).await?;
        choices.pop().ok_or(Refusal::Internal)
    }

    /// Admits a request that wants several answers, 1 if it does not say: all of them, or none.
    pub async fn admit_choices(
        self: &Arc<Self>,
        raw: RawRequest,
        num_choices: Option<u32>,
    ) -> Result<Vec<Generation>, Refusal> {
        let admitted = self.try_admit(raw, num_choices).await;
        admitted.inspect_err(|refusal| self.note_refusal(refusal))
    }

    async fn try_admit(
        self: &Arc<Self>,
        raw: RawRequest,
        num_choices: Option<u32>,
    ) -> Result<Vec<Generation>, Refusal> {
        self.has_room()?;
        let num_choices = self.num_choices(num_choices)?;
        let permits = Arc::clone(&self.permits).try_acquire_many_owned(num_choices);
        let permits = permits.map_err(|_| self.queue_full())?;
        // Long prompts take milliseconds to tokenise, which would hold up the door's other clients.
        let (frontend, span) = (Arc::clone(self), Span::current());
        let admit = move || span.in_scope(|| frontend.admit_blocking(raw, permits));
        tokio::task::spawn_blocking(admit)
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "admission failed");
                Err(Refusal::Internal)
            })
    }

    /// Queues a choice for each permit.
    fn admit_blocking(
        &self,
        raw: RawRequest,
        mut permits: OwnedSemaphorePermit,
    ) -> Result<Vec<Generation>, Refusal> {
        let checked = self.check(raw)?;
        std::iter::from_fn(|| permits.split(1))
            .enumerate()
            .map(|(index, permit)| self.queue(&checked, index, permit))
            .collect()
    }

    fn check(&self, raw: RawRequest) -> Result<Checked, Refusal> {
        self.check_model(raw.model.as_deref())?;
        let sampling = self.sampling(&raw.sampling)?;
        let speculation = self.speculation(&raw.speculation)?;
        let stop_token_ids = self.stops(&raw)?;
        let logprobs = self.logprobs(raw.logprobs)?;
        let cache_salt = self.cache_salt(raw.cache_salt.as_deref())?;
        let prompt = self.tokenize(&raw.prompt)?;
        let prediction = self.prediction(raw.prediction.as_deref())?;
        // A tokenizer may know more tokens than the model has rows for.
        for (name, tokens) in [("prompt", &prompt), ("prediction", &prediction)] {
            for &token in tokens {
                self.check_token(name, token)?;
            }
        }
        let stopping = Stopping {
            max_tokens: self.max_tokens(prompt.len(), raw.max_tokens)?,
            stop_token_ids,
            ignore_eos: raw.ignore_eos,
        };
        Ok(Checked {
            prompt,
            sampling,
            stopping,
            speculation,
            prediction: prediction.into(),
            logprobs,
            cache_salt,
            raw,
        })
    }

    fn queue(
        &self,
        checked: &Checked,
        index: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<Generation, Refusal> {
        let Checked { raw, .. } = checked;
        let mut sampling = checked.sampling.clone();
        sampling.seed = choice_seed(sampling.seed, index);
        let (events, receiver) = mpsc::channel(checked.stopping.max_tokens + 1);
        let generation = Generation {
            prompt: checked.prompt.clone(),
            seed: sampling.seed,
            drafter: checked.speculation.drafter,
            events: receiver,
            lifetime: Lifetime::new(self.stage.subscribe(), self.limits.request_timeout),
            text: TextStream::new(
                Arc::clone(&self.model.tokenizer),
                raw.stop.clone(),
                raw.include_stop_strings,
                raw.skip_special_tokens.unwrap_or(true),
            ),
            include_stop: raw.include_stop_strings,
            finished: false,
            meter: self.metrics.admitted(checked.prompt.len()),
        };
        let inbox = self.inbox().ok_or(Refusal::EngineDead)?;
        inbox
            .send(Request {
                prompt: checked.prompt.clone(),
                sampling,
                stopping: checked.stopping.clone(),
                speculation: checked.speculation.clone(),
                prediction: Arc::clone(&checked.prediction),
                logprobs: checked.logprobs,
                priority: raw.priority.unwrap_or(0),
                cache_salt: checked.cache_salt.clone(),
                events,
                permit,
            })
            .map_err(|_| Refusal::EngineDead)?;
        Ok(generation)
    }

    /// Refuses a model name that is not served; no name means the one there is.
    pub fn check_model(&self, requested: Option<&str>) -> Result<(), Refusal> {
        match requested {
            Some(name) if !self.model.names.iter().any(|served| served == name) => {
                Err(Refusal::UnknownModel {
                    requested: name.to_owned(),
                    served: self.model.name().to_owned(),
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
                .map_err(|error| Refusal::invalid("prompt", error))
        };
        match prompt {
            Prompt::Text(text) => encode(text, true),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Chat(messages) => {
                if messages.is_empty() {
                    return Err(Refusal::EmptyPrompt);
                }
                let template = self.model.chat_template.as_ref().ok_or_else(|| {
                    Refusal::invalid(
                        "messages",
                        "this model has no chat template; use completions",
                    )
                })?;
                encode(
                    &template
                        .render(messages)
                        .map_err(|error| Refusal::invalid("messages", error))?,
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
        Err(Refusal::invalid(
            name,
            format!("token id {token} is outside the vocabulary of {vocab_size}"),
        ))
    }
}
