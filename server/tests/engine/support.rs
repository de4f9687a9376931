//! Engines that tests drive by hand, and drafters that know the future.

use std::sync::Arc;

use candle_core::{Device, Result};
use foretoken_draft::{Context, DraftTree, Drafter};
use foretoken_model::{Dtype, LoadOptions, LoadedModel, ModelSource, SamplingParams, Token};
use foretoken_server::engine::{Drafters, Engine, SchedulerOptions};
use foretoken_server::request::{Emitted, Event, Finish, Request, Speculation, Stats, Stopping};
use tokio::sync::{Semaphore, mpsc};

/// A TinyStories model that somebody else trained.
pub(crate) fn stories() -> ModelSource {
    ModelSource::Directory(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/stories260K").into(),
    )
}

/// The carried model, from its folder.
pub(crate) fn demo() -> ModelSource {
    ModelSource::Directory(concat!(env!("CARGO_MANIFEST_DIR"), "/../model/demo").into())
}

/// How a test's engine is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) source: ModelSource,
    pub(crate) dtype: Dtype,
    pub(crate) max_num_seqs: usize,
    pub(crate) max_num_batched_tokens: usize,
    pub(crate) max_prefill_chunk: usize,
    pub(crate) num_blocks: usize,
    pub(crate) enable_prefix_caching: bool,
}

impl Setup {
    pub(crate) fn new(source: ModelSource, dtype: Dtype) -> Self {
        Self {
            source,
            dtype,
            max_num_seqs: 8,
            max_num_batched_tokens: 512,
            max_prefill_chunk: 512,
            num_blocks: 256,
            enable_prefix_caching: true,
        }
    }

    pub(crate) fn engine(&self, drafters: Vec<Box<dyn Drafter>>) -> Engine {
        let model = LoadedModel::load(
            &self.source,
            LoadOptions {
                dtype: self.dtype,
                ..LoadOptions::default()
            },
            &Device::Cpu,
        )
        .expect("the model loads");
        let drafters = Drafters::new(drafters, model.llama.config().vocab_size);
        let options = SchedulerOptions {
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            max_prefill_chunk: self.max_prefill_chunk,
            enable_prefix_caching: self.enable_prefix_caching,
        };
        Engine::new(
            model.llama,
            model.eos_token_ids,
            drafters,
            options,
            self.num_blocks,
        )
        .expect("an engine")
    }
}

/// What a test asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) prompt: Vec<Token>,
    pub(crate) sampling: SamplingParams,
    pub(crate) stopping: Stopping,
    pub(crate) speculation: Speculation,
    pub(crate) prediction: Vec<Token>,
    pub(crate) logprobs: Option<usize>,
    pub(crate) priority: i32,
    pub(crate) cache_salt: Option<&'static str>,
}

impl Ask {
    /// `num_tokens` tokens behind `prompt`, plainly decoded.
    pub(crate) fn new(prompt: Vec<Token>, sampling: SamplingParams, num_tokens: usize) -> Self {
        Self {
            prompt,
            sampling,
            stopping: Stopping {
                max_tokens: num_tokens,
                stop_token_ids: Vec::new(),
                ignore_eos: true,
            },
            speculation: Speculation {
                drafter: None,
                max_draft_tokens: 0,
                min_draft_tokens: 0,
                max_draft_depth: 63,
            },
            prediction: Vec::new(),
            logprobs: None,
            priority: 0,
            cache_salt: None,
        }
    }

    /// The same, drafted by `drafter` with exactly `budget` nodes wherever it has so many.
    pub(crate) fn drafted(mut self, drafter: Option<&'static str>, budget: usize) -> Self {
        self.speculation.drafter = drafter;
        self.speculation.max_draft_tokens = budget;
        self.speculation.min_draft_tokens = budget;
        self
    }

    /// Puts the request into the engine and gives what will come of it.
    pub(crate) fn send(self, engine: &mut Engine) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(self.stopping.max_tokens + 1);
        let permit = Arc::new(Semaphore::new(1))
            .try_acquire_owned()
            .expect("a fresh permit");
        let Self {
            prompt,
            sampling,
            stopping,
            speculation,
            prediction,
            logprobs,
            priority,
            cache_salt,
        } = self;
        engine.add(Request {
            prompt,
            sampling,
            stopping,
            speculation,
            prediction: prediction.into(),
            logprobs,
            priority,
            cache_salt: cache_salt.map(Arc::from),
            events,
            permit,
        });
        receiver
    }
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<Token>,
    pub(crate) emitted: Vec<Emitted>,
    pub(crate) stats: Stats,
    pub(crate) finish: Option<Finish>,
}

/// Runs requests side by side until all have ended; nothing may be left in the engine.
pub(crate) fn answers(engine: &mut Engine, asks: Vec<Ask>) -> Vec<Answer> {
    let receivers: Vec<_> = asks.into_iter().map(|ask| ask.send(engine)).collect();
    finish(engine);
    receivers.into_iter().map(answer).collect()
}

/// Steps until nothing is left to do, and counts the blocks.
pub(crate) fn finish(engine: &mut Engine) {
    while !engine.is_idle() {
        engine.step().expect("the step runs");
    }
    let blocks = engine.blocks();
    let counts = (
        blocks.num_free() + blocks.num_cached(),
        blocks.num_private(),
    );
    assert_eq!(counts, (blocks.num_blocks(), 0), "blocks leaked");
    assert_eq!(
        engine.num_free_blocks(),
        engine.num_blocks(),
        "blocks leaked"
    );
}

/// What has arrived so far.
pub(crate) fn answer(mut events: mpsc::Receiver<Event>) -> Answer {
    let mut answer = Answer::default();
    while let Ok(event) = events.try_recv() {
        assert_eq!(answer.finish, None, "nothing comes behind the last event");
        answer
            .tokens
            .extend(event.tokens.iter().map(|emitted| emitted.token));
        answer.emitted.extend(event.tokens);
        answer.stats = event.stats;
        answer.finish = event.finish;
    }
    answer
}

/// How a prophet uses what it knows.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Prophecy {
    /// A chain of what comes.
    Right,
    /// A tree without what comes.
    Wrong,
    /// What comes, each token behind a sibling that does not.
    Hidden,
}

/// Knows how sequences go on.
pub(crate) struct Prophet {
    pub(crate) name: &'static str,
    pub(crate) prophecy: Prophecy,
    /// Prompts with their outputs.
    pub(crate) sequences: Vec<Vec<Token>>,
    pub(crate) vocab_size: usize,
}

impl Prophet {
    fn tree(&self, context: &Context<'_>) -> DraftTree {
        let mut tree = DraftTree::new(*context.tokens.last().expect("a root"));
        let known = self
            .sequences
            .iter()
            .find(|sequence| sequence.starts_with(context.tokens));
        let coming = known.map_or(&[][..], |sequence| &sequence[context.tokens.len()..]);
        match self.prophecy {
            Prophecy::Right => self.hide(&mut tree, coming, context, false),
            Prophecy::Hidden => self.hide(&mut tree, coming, context, true),
            Prophecy::Wrong => {
                // Everything but what comes, three branches deep and wide.
                for node in 0..context.max_draft_tokens {
                    let parent = node / 3;
                    if parent < tree.num_nodes() && tree.depth(parent) < context.max_draft_depth {
                        let offset = 1 + node % 3;
                        let token = coming.first().copied().unwrap_or(0) as usize + offset;
                        tree.push(parent, (token % self.vocab_size) as Token, 0.5, self.name);
                    }
                }
            }
        }
        tree
    }

    fn hide(&self, tree: &mut DraftTree, coming: &[Token], context: &Context<'_>, decoys: bool) {
        let mut parent = DraftTree::ROOT;
        for &token in coming.iter().take(context.max_draft_depth) {
            if decoys && tree.num_draft_tokens() + 2 <= context.max_draft_tokens {
                let decoy = (token as usize + 1) % self.vocab_size;
                tree.push(parent, decoy as Token, 0.5, self.name);
            }
            if tree.num_draft_tokens() == context.max_draft_tokens {
                return;
            }
            parent = tree
                .push(parent, token, 0.5, self.name)
                .expect("a new child");
        }
    }
}

impl Drafter for Prophet {
    fn name(&self) -> &'static str {
        self.name
    }

    fn propose(&mut self, contexts: &[Context<'_>]) -> Result<Vec<DraftTree>> {
        Ok(contexts.iter().map(|context| self.tree(context)).collect())
    }
}
