//! From options to a running engine: the model is loaded, memory is budgeted, the thread is started.

mod draft_model;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use candle_core::Device;
use foretoken_draft::infini::{Corpus, CorpusError};
use foretoken_draft::trigram::{
    Search, SharedOverlay, SharedOverlayError, StaticTable, TableError, TrigramOptions,
};
use foretoken_draft::{Auto, Drafter, Infini, Lookup, Trigram};
use foretoken_model::{
    Dtype, FileBytes, LoadError, LoadOptions, LoadedModel, MappedFile, ModelSource, Quantization,
};
use thiserror::Error;

use crate::admission::{Frontend, Limits, ServedModel};
use crate::config::{DtypeChoice, EngineOptions, QuantizationChoice, TrigramSearch};
use crate::engine::{Drafters, Engine, SchedulerOptions};
use crate::memory::{MemoryError, num_blocks};
use crate::request::Speculation;
pub use draft_model::DraftModelError;

/// Why no engine starts.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The model's files.
    #[error("cannot load the model from {place}: {error}")]
    Model {
        /// Where they lie.
        place: String,
        /// What is wrong with them.
        error: LoadError,
    },
    /// The drafter's table cannot be opened.
    #[error("cannot open the trigram table {place}: {error}")]
    TableFile {
        /// Where it lies.
        place: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// The drafter's table is none, or another model's.
    #[error("cannot read the trigram table {place}: {error}")]
    Table {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        error: TableError,
    },
    /// The drafter's corpus cannot be opened.
    #[error("cannot open the corpus {place}: {error}")]
    CorpusFile {
        /// Where it lies.
        place: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// The drafter's corpus is none, or another model's.
    #[error("cannot read the corpus {place}: {error}")]
    Corpus {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        error: CorpusError,
    },
    /// The shared overlay is none, another model's, or cannot be read or written.
    #[error(
        "--shared-overlay {place}: {error}; it is left as it is: name another file, or move this one away"
    )]
    SharedOverlay {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        error: SharedOverlayError,
    },
    /// The draft model is none, or no match for the model.
    #[error("cannot draft with the model in {place}: {error}")]
    DraftModel {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        error: DraftModelError,
    },
    /// The cache's memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The compute pool.
    #[error("cannot start {threads} compute threads: {error}")]
    Threads {
        /// As asked for.
        threads: usize,
        /// The system's word.
        error: rayon::ThreadPoolBuildError,
    },
    /// The engine's thread.
    #[error("cannot start the engine's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The tensor library failed.
    #[error("{0}")]
    Tensor(#[from] candle_core::Error),
}

/// A running engine and the edge's handle on it.
#[derive(Debug)]
pub struct Launched {
    /// See [`Frontend::dismiss`] for how the engine ends.
    pub frontend: Arc<Frontend>,
    /// Ends with the engine; an error, or a panic, is the engine's death.
    pub thread: JoinHandle<candle_core::Result<()>>,
}

impl Launched {
    /// Lets the engine end when its requests have, and waits until it has saved what drafters keep.
    ///
    /// # Errors
    ///
    /// If the engine has died, now or before.
    pub async fn end(self) -> candle_core::Result<()> {
        self.frontend.dismiss();
        // Nothing is awaited that could not be abandoned if the process is asked a second time to stop.
        while !self.thread.is_finished() {
            tokio::time::sleep(END_INTERVAL).await;
        }
        match self.thread.join() {
            Ok(ended) => ended,
            Err(_) => Err(candle_core::Error::msg("its thread panicked")),
        }
    }
}

/// How often is looked whether the engine has ended.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// What a server grants its clients, beside the engine's own limits.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Names that requests may use; if there are none, the model's own.
    pub served_names: Vec<String>,
    /// Requests that may wait.
    pub max_num_queued: usize,
    /// How long a request may wait and run.
    pub request_timeout: Option<Duration>,
}

/// Where the engine knows from what its forwards cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pricing {
    /// It measures them before the first request.
    Measured,
    /// It starts from a guess and learns from the first steps on: for one answer, measuring takes longer than it saves.
    Guessed,
}

/// Loads a model and starts its engine.
pub fn launch(
    options: &EngineOptions,
    grants: Grants,
    pricing: Pricing,
) -> Result<Launched, LaunchError> {
    let (source, model) = load(options)?;
    let drafters = Drafters::new(
        drafters(options, &source, &model)?,
        model.llama.config().vocab_size,
    );
    let num_blocks = num_blocks(&model, &drafters, options)?;

    let limits = limits(options, &model, &drafters, &grants);
    let served = ServedModel {
        names: match grants.served_names.is_empty() {
            true => vec![source.name()],
            false => grants.served_names,
        },
        tokenizer: Arc::new(model.tokenizer),
        chat_template: model.chat_template,
        defaults: model.defaults,
        vocab_size: model.llama.config().vocab_size,
    };
    let (frontend, inbox) = Frontend::new(served, limits, drafters.names());
    let scheduler = SchedulerOptions {
        max_num_seqs: options.max_num_seqs,
        max_num_batched_tokens: options.rows_per_step(),
        max_prefill_chunk: options.max_num_batched_tokens,
        enable_prefix_caching: options.enable_prefix_caching,
    };
    let mut engine = Engine::new(
        model.llama,
        model.eos_token_ids,
        drafters,
        scheduler,
        num_blocks,
    )?;
    engine.report_to(frontend.metrics().registry());
    let thread = start(options.threads, move || {
        match pricing {
            Pricing::Measured => engine.measure_prices()?,
            Pricing::Guessed => engine.guess_prices(),
        }
        engine.run(inbox)
    })?;
    Ok(Launched {
        frontend: Arc::new(frontend),
        thread,
    })
}

/// The model and where it is from.
fn load(options: &EngineOptions) -> Result<(ModelSource, LoadedModel), LaunchError> {
    let source = match &options.model {
        Some(directory) => ModelSource::Directory(directory.clone()),
        None => ModelSource::demo(),
    };
    let model = LoadedModel::load(&source, load_options(options), &Device::Cpu)
        .map_err(|error| in_model(&source, error))?;
    Ok((source, model))
}

/// How the model is read, and a draft model too.
fn load_options(options: &EngineOptions) -> LoadOptions {
    let dtype = match options.dtype {
        DtypeChoice::Auto => Dtype::Auto,
        DtypeChoice::Float32 => Dtype::Float32,
        DtypeChoice::Bfloat16 => Dtype::Bfloat16,
    };
    let quantization = options.quantization.map(|choice| match choice {
        QuantizationChoice::Int8 => Quantization::Int8,
    });
    LoadOptions {
        dtype,
        quantization,
        max_model_len: options.max_model_len,
    }
}

fn limits(
    options: &EngineOptions,
    model: &LoadedModel,
    drafters: &Drafters,
    grants: &Grants,
) -> Limits {
    let asked = &options.speculation;
    let speculation = Speculation {
        drafter: drafters
            .names()
            .into_iter()
            .find(|name| *name == asked.drafter),
        max_draft_tokens: asked.max_draft_tokens,
        min_draft_tokens: asked.min_draft_tokens,
        max_draft_depth: asked.max_draft_depth,
    };
    Limits {
        max_model_len: model.max_model_len,
        max_num_requests: options.max_num_seqs + grants.max_num_queued,
        request_timeout: grants.request_timeout,
        speculation,
    }
}

/// The drafters that a server of these options would have.
pub fn drafters_of(options: &EngineOptions) -> Result<Vec<Box<dyn Drafter>>, LaunchError> {
    let (source, model) = load(options)?;
    drafters(options, &source, &model)
}

/// The table that the trigram drafter of such a server would have.
pub fn table_of(options: &EngineOptions) -> Result<Option<StaticTable>, LaunchError> {
    let (source, model) = load(options)?;
    table(options, &source, &model)
}

/// The drafters that requests may name. All whose files are there, whichever is the default: they cost nothing until
/// used. The first has others of its own, with what they know of the sequences that it drafts for; the files are mapped
/// and shared.
fn drafters(
    options: &EngineOptions,
    source: &ModelSource,
    model: &LoadedModel,
) -> Result<Vec<Box<dyn Drafter>>, LaunchError> {
    let search = match options.speculation.trigram_search {
        TrigramSearch::BestFirst => Search::BestFirst,
        TrigramSearch::Mcts => Search::Mcts,
    };
    let asked = &options.speculation;
    // One drafter owns what is shared: the server's own.
    let owner = match asked.drafter == "trigram" {
        true => "trigram",
        false => "auto",
    };
    let trigram = |of: &str| {
        let options_of_trigram = TrigramOptions {
            search,
            ..TrigramOptions::default()
        };
        let table = table(options, source, model)?;
        let trigram = Trigram::with_options(table, options_of_trigram);
        match &asked.shared_overlay {
            Some(path) if of == owner => Ok(trigram.sharing(shared_overlay(path, options, model)?)),
            _ => Ok::<_, LaunchError>(trigram),
        }
    };
    let infini = || match &asked.infini_corpus {
        Some(path) => corpus(path, model).map(|corpus| Some(Infini::new(corpus))),
        None => Ok(None),
    };
    let auto = Auto::new(trigram("auto")?, lookup(options), infini()?);
    let mut drafters: Vec<Box<dyn Drafter>> = vec![
        Box::new(auto),
        Box::new(trigram("trigram")?),
        Box::new(lookup(options)),
    ];
    if let Some(infini) = infini()? {
        drafters.push(Box::new(infini));
    }
    if let Some(directory) = &options.speculation.draft_model {
        let drafter = draft_model::load(directory, load_options(options), model);
        let refused = |error| LaunchError::DraftModel {
            place: directory.display().to_string(),
            error,
        };
        drafters.push(Box::new(drafter.map_err(refused)?));
    }
    Ok(drafters)
}

fn lookup(options: &EngineOptions) -> Lookup {
    match options.speculation.share_outputs {
        true => Lookup::sharing(options.speculation.share_outputs_tokens),
        false => Lookup::new(),
    }
}

/// What earlier processes have learnt.
fn shared_overlay(
    path: &Path,
    options: &EngineOptions,
    model: &LoadedModel,
) -> Result<SharedOverlay, LaunchError> {
    let size = options.speculation.shared_overlay_size;
    let vocab_size = model.llama.config().vocab_size;
    let overlay = SharedOverlay::open(
        path.to_owned(),
        usize::try_from(size).unwrap_or(usize::MAX),
        vocab_size,
        model.tokenizer.fingerprint(),
    );
    let place = path.display().to_string();
    overlay.map_err(|error| LaunchError::SharedOverlay { place, error })
}

/// The infini drafter's corpus. Its content is not verified, which would take seconds: it can mislead, and no more.
fn corpus(path: &Path, model: &LoadedModel) -> Result<Corpus, LaunchError> {
    let place = path.display().to_string();
    let file = match MappedFile::open(path) {
        Ok(file) => file,
        Err(error) => return Err(LaunchError::CorpusFile { place, error }),
    };
    let vocab_size = model.llama.config().vocab_size;
    Corpus::new(file, vocab_size, model.tokenizer.fingerprint())
        .map_err(|error| LaunchError::Corpus { place, error })
}

/// The trigram drafter's table: the one named, or the one beside the model, if it has one.
fn table(
    options: &EngineOptions,
    source: &ModelSource,
    model: &LoadedModel,
) -> Result<Option<StaticTable>, LaunchError> {
    let (place, bytes) = match &options.speculation.trigram_table {
        Some(path) => {
            let place = path.display().to_string();
            let bytes = match MappedFile::open(path) {
                Ok(file) => FileBytes::Mapped(file),
                Err(error) => return Err(LaunchError::TableFile { place, error }),
            };
            (place, bytes)
        }
        None => match source
            .find(TABLE)
            .map_err(|error| in_model(source, error))?
        {
            Some(bytes) => (TABLE.to_owned(), bytes),
            None => return Ok(None),
        },
    };
    let vocab_size = model.llama.config().vocab_size;
    let table = StaticTable::new(bytes, vocab_size, model.tokenizer.fingerprint());
    table
        .map(Some)
        .map_err(|error| LaunchError::Table { place, error })
}

/// Beside a model's own files.
const TABLE: &str = "trigram.ftt";

fn in_model(source: &ModelSource, error: LoadError) -> LaunchError {
    LaunchError::Model {
        place: source.place().into_owned(),
        error,
    }
}

/// Runs `engine` on a thread of its own, which is one of the compute pool's `threads`.
#[expect(clippy::disallowed_methods, reason = "this is the engine's thread")]
fn start(
    threads: Option<usize>,
    engine: impl FnOnce() -> candle_core::Result<()> + Send + 'static,
) -> Result<JoinHandle<candle_core::Result<()>>, LaunchError> {
    let threads =
        threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("compute-{index}"))
        .build()
        .map_err(|error| LaunchError::Threads { threads, error })?;
    Ok(std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || pool.install(engine))?)
}
