//! The door: raw fields become a `Request` or a `Refusal`, once.

mod gate;
mod prompt;
mod served;

use std::sync::{Arc, Mutex};

use foretoken_model::{SamplingParams, Token};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tracing::Span;

use crate::choices::choice_seed;
use crate::detokenize::TextStream;
use crate::generation::Generation;
use crate::lifetime::{Lifetime, Stage};
use crate::metrics::Metrics;
use crate::raw_request::RawRequest;
use crate::refusal::Refusal;
use crate::request::{Request, Speculation, Stopping};
pub use served::{Limits, ServedModel};

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

/// A request with nothing wrong in it.
struct Checked {
    /// By prompt: its tokens, and when its answers end.
    prompts: Vec<(Vec<Token>, Stopping)>,
    sampling: SamplingParams,
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

    /// Validates, tokenises and queues a request. Refuses at once where it cannot wait.
    pub async fn admit(self: &Arc<Self>, raw: RawRequest) -> Result<Generation, Refusal> {
        let mut choices = self.admit_choices(raw, None).await?;
        choices.pop().ok_or(Refusal::Internal)
    }

    /// Admits a request that wants several answers to each prompt, 1 if it does not say: all of them, or none. Those to
    /// the first prompt come first.
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
        let num_choices = self.num_choices(num_choices)?;
        let needed = num_choices as usize * (1 + raw.more_prompts.len());
        self.has_room(needed)?;
        let permits = u32::try_from(needed).ok().and_then(|needed| {
            let permits = Arc::clone(&self.permits).try_acquire_many_owned(needed);
            permits.ok()
        });
        let permits = permits.ok_or_else(|| self.queue_full(needed))?;
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

    /// Queues a choice for each permit, as many for each prompt.
    fn admit_blocking(
        &self,
        raw: RawRequest,
        mut permits: OwnedSemaphorePermit,
    ) -> Result<Vec<Generation>, Refusal> {
        let checked = self.check(raw)?;
        let num_choices = permits.num_permits() / checked.prompts.len();
        std::iter::from_fn(|| permits.split(1))
            .enumerate()
            .map(|(index, permit)| self.queue(&checked, index / num_choices, index, permit))
            .collect()
    }

    fn check(&self, raw: RawRequest) -> Result<Checked, Refusal> {
        self.check_model(raw.model.as_deref())?;
        let sampling = self.sampling(&raw.sampling)?;
        let speculation = self.speculation(&raw.speculation)?;
        let stop_token_ids = self.stops(&raw)?;
        let logprobs = self.logprobs(raw.logprobs)?;
        let cache_salt = self.cache_salt(raw.cache_salt.as_deref())?;
        let prompts = [&raw.prompt].into_iter().chain(&raw.more_prompts);
        let prompts: Vec<Vec<Token>> =
            (prompts.map(|prompt| self.tokenize(prompt))).collect::<Result<_, _>>()?;
        let prediction = self.prediction(raw.prediction.as_deref())?;
        // A tokenizer may know more tokens than the model has rows for.
        let names = prompts.iter().map(|prompt| ("prompt", prompt));
        for (name, tokens) in names.chain([("prediction", &prediction)]) {
            for &token in tokens {
                self.check_token(name, token)?;
            }
        }
        let prompts = prompts.into_iter().map(|prompt| {
            let stopping = Stopping {
                max_tokens: self.max_tokens(prompt.len(), raw.max_tokens)?,
                stop_token_ids: stop_token_ids.clone(),
                ignore_eos: raw.ignore_eos,
            };
            Ok((prompt, stopping))
        });
        Ok(Checked {
            prompts: prompts.collect::<Result<_, _>>()?,
            sampling,
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
        prompt: usize,
        index: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<Generation, Refusal> {
        let Checked { raw, .. } = checked;
        let (prompt, stopping) = &checked.prompts[prompt];
        let mut sampling = checked.sampling.clone();
        sampling.seed = choice_seed(sampling.seed, index);
        let (events, receiver) = mpsc::channel(stopping.max_tokens + 1);
        let generation = Generation {
            prompt: prompt.clone(),
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
            meter: self.metrics.admitted(prompt.len()),
        };
        let inbox = self.inbox().ok_or(Refusal::EngineDead)?;
        inbox
            .send(Request {
                prompt: prompt.clone(),
                sampling,
                stopping: stopping.clone(),
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
}
