//! From options to a running engine: the model is loaded, memory is budgeted, the thread is started.

mod chimera;
mod draft_model;
mod drafters;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use foretoken_draft::chimera::ChimeraError;
use foretoken_draft::trigram::{SharedOverlayError, StaticTable};
use foretoken_draft::{Drafter, FileError};
use foretoken_model::{
    DeviceError, Dtype, LoadError, LoadOptions, LoadedModel, ModelSource, Quantization,
    device_memory,
};
use thiserror::Error;

use crate::admission::{Frontend, Limits, ServedModel};
use crate::config::{DeviceChoice, DtypeChoice, EngineOptions, QuantizationChoice};
use crate::device;
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
        error: FileError,
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
        error: FileError,
    },
    /// The device.
    #[error("cannot compute on the device that --device names: {error}")]
    Device {
        /// What it lacks.
        error: DeviceError,
    },
    /// What a GPU has no kernels for.
    #[error(
        "--quantization int8 is for the CPU so far, and --device {device} is a GPU here: choose --device cpu, or leave \
         --quantization out"
    )]
    QuantizedOnGpu {
        /// As asked for.
        device: DeviceChoice,
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
    /// The drafter's network is none, or another model's.
    #[error("cannot draft with the network in {place}: {error}")]
    Chimera {
        /// Where it lies.
        place: String,
        /// What is wrong with it.
        error: ChimeraError,
    },
    /// The drafter is asked for, and there is no network.
    #[error(
        "the drafter chimera needs a network that was trained for the model: --chimera DIR, or a folder `chimera` in \
         {place}"
    )]
    NoChimera {
        /// Where it could lie, too.
        place: String,
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
    /// Memory that was thought to be there is not.
    #[error(
        "cannot set up an engine of {num_blocks} blocks of KV cache and steps of {num_rows} rows: {error}; a smaller \
         --gpu-memory-utilization or --kv-cache-memory-bytes leaves more for others"
    )]
    Allocation {
        /// Blocks of the cache.
        num_blocks: usize,
        /// Rows of the largest step.
        num_rows: usize,
        /// What failed.
        error: candle_core::Error,
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
        drafters::drafters(options, &source, &model)?,
        model.llama.config().vocab_size,
    );
    let num_blocks = num_blocks(
        &model,
        &drafters,
        device_memory(model.llama.device())?,
        options,
    )?;

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
    )
    .map_err(|error| LaunchError::Allocation {
        num_blocks,
        num_rows: options.rows_per_step(),
        error,
    })?;
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
pub(crate) fn load(options: &EngineOptions) -> Result<(ModelSource, LoadedModel), LaunchError> {
    let source = match &options.model {
        Some(directory) => ModelSource::Directory(directory.clone()),
        None => ModelSource::demo(),
    };
    let device = device::open(options.device).map_err(|error| LaunchError::Device { error })?;
    check(options, device.is_cpu())?;
    let model = LoadedModel::load(&source, load_options(options), &device)
        .map_err(|error| in_model(&source, error))?;
    Ok((source, model))
}

/// Refuses what the device has no kernels for.
fn check(options: &EngineOptions, is_on_cpu: bool) -> Result<(), LaunchError> {
    match options.quantization {
        Some(QuantizationChoice::Int8) if !is_on_cpu => Err(LaunchError::QuantizedOnGpu {
            device: options.device,
        }),
        _ => Ok(()),
    }
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
        enforce_eager: options.enforce_eager,
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
    drafters::drafters(options, &source, &model)
}

/// The table that the trigram drafter of such a server would have.
pub fn table_of(options: &EngineOptions) -> Result<Option<StaticTable>, LaunchError> {
    let (source, model) = load(options)?;
    drafters::table(options, &source, &model)
}

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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        engine: EngineOptions,
    }

    #[test]
    fn int8_is_refused_on_a_gpu_by_the_flags_name() {
        let options = |arguments: &[&str]| {
            let arguments = ["foretoken"].iter().chain(arguments);
            Arguments::parse_from(arguments).engine
        };
        let int8 = options(&["--quantization", "int8", "--device", "cuda:1"]);
        assert!(check(&int8, true).is_ok());
        assert!(check(&options(&["--device", "cuda:1"]), false).is_ok());
        let error = check(&int8, false).unwrap_err().to_string();
        for part in ["--quantization int8", "--device cuda:1", "--device cpu"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
