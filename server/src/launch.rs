//! From options to a running engine: the model is loaded, memory is budgeted, the thread is started.

use std::sync::Arc;
use std::thread::JoinHandle;

use candle_core::Device;
use foretoken_draft::trigram::{StaticTable, TableError};
use foretoken_draft::{Drafter, Lookup, Trigram};
use foretoken_model::{
    Dtype, FileBytes, KvCache, LoadError, LoadOptions, LoadedModel, MappedFile, ModelSource,
    Quantization,
};
use thiserror::Error;

use crate::admission::{Frontend, Limits, ServedModel};
use crate::config::{DtypeChoice, EngineOptions, QuantizationChoice};
use crate::engine::{BLOCK_SIZE, Drafters, Engine, SchedulerOptions};
use crate::request::Speculation;

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
    /// Not even one sequence fits.
    #[error(
        "the KV cache of one sequence of {max_model_len} tokens takes {needed} bytes, more than the {limit} granted; \
         a smaller --max-model-len takes less"
    )]
    Memory {
        /// Tokens of a sequence.
        max_model_len: usize,
        /// Bytes that they take.
        needed: usize,
        /// Bytes for the whole cache.
        limit: usize,
    },
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
    /// Drop every clone of it, and the engine ends when its requests have.
    pub frontend: Arc<Frontend>,
    /// Ends with the engine; an error, or a panic, is the engine's death.
    pub thread: JoinHandle<candle_core::Result<()>>,
}

/// What the whole cache may take.
const MAX_CACHE_BYTES: usize = 4 << 30;

/// Loads a model and starts its engine.
pub fn launch(
    options: &EngineOptions,
    served_names: &[String],
    max_num_queued: usize,
) -> Result<Launched, LaunchError> {
    let source = match &options.model {
        Some(directory) => ModelSource::Directory(directory.clone()),
        None => ModelSource::demo(),
    };
    let dtype = match options.dtype {
        DtypeChoice::Auto => Dtype::Auto,
        DtypeChoice::Float32 => Dtype::Float32,
        DtypeChoice::Bfloat16 => Dtype::Bfloat16,
    };
    let quantization = options.quantization.map(|choice| match choice {
        QuantizationChoice::Int8 => Quantization::Int8,
    });
    let load = LoadOptions {
        dtype,
        quantization,
        max_model_len: options.max_model_len,
    };
    let model =
        LoadedModel::load(&source, load, &Device::Cpu).map_err(|error| in_model(&source, error))?;
    let num_blocks = num_blocks(&model, options.max_num_seqs)?;
    let drafters = Drafters::new(
        drafters(options, &source, &model)?,
        model.llama.config().vocab_size,
    );

    let limits = limits(options, &model, &drafters, max_num_queued);
    let served = ServedModel {
        names: match served_names {
            [] => vec![source.name()],
            names => names.to_vec(),
        },
        tokenizer: Arc::new(model.tokenizer),
        chat_template: model.chat_template,
        defaults: model.defaults,
        vocab_size: model.llama.config().vocab_size,
    };
    let (frontend, inbox) = Frontend::new(served, limits, drafters.names());
    let scheduler = SchedulerOptions {
        max_num_seqs: options.max_num_seqs,
        // A step always has room for one row of every running sequence.
        max_num_batched_tokens: options.max_num_batched_tokens.max(options.max_num_seqs),
        max_prefill_chunk: options.max_num_batched_tokens,
    };
    let mut engine = Engine::new(
        model.llama,
        model.eos_token_ids,
        drafters,
        scheduler,
        num_blocks,
    )?;
    let thread = start(options.threads, move || {
        engine.measure_prices()?;
        engine.run(inbox)
    })?;
    Ok(Launched {
        frontend: Arc::new(frontend),
        thread,
    })
}

fn limits(
    options: &EngineOptions,
    model: &LoadedModel,
    drafters: &Drafters,
    max_num_queued: usize,
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
        max_num_requests: options.max_num_seqs + max_num_queued,
        speculation,
    }
}

/// Enough for as many sequences as may run, if they fit the memory; at least for one.
fn num_blocks(model: &LoadedModel, max_num_seqs: usize) -> Result<usize, LaunchError> {
    let block_bytes = BLOCK_SIZE * KvCache::slot_bytes(model.llama.config(), model.llama.dtype());
    let per_sequence =
        (model.max_model_len + foretoken_draft::DraftTree::MAX_NODES).div_ceil(BLOCK_SIZE);
    let affordable = MAX_CACHE_BYTES / block_bytes;
    if affordable < per_sequence {
        return Err(LaunchError::Memory {
            max_model_len: model.max_model_len,
            needed: per_sequence * block_bytes,
            limit: MAX_CACHE_BYTES,
        });
    }
    Ok(affordable.min(per_sequence.saturating_mul(max_num_seqs)))
}

/// The drafters that requests may name. All are there, whichever is the default: they cost nothing until used.
fn drafters(
    options: &EngineOptions,
    source: &ModelSource,
    model: &LoadedModel,
) -> Result<Vec<Box<dyn Drafter>>, LaunchError> {
    let table = table(options, source, model)?;
    Ok(vec![
        Box::new(Trigram::new(table)),
        Box::new(Lookup::default()),
    ])
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
