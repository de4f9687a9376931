//! The drafters that a server has, by what it is told and what lies beside its model.

use std::path::Path;

use foretoken_draft::infini::Corpus;
use foretoken_draft::trigram::{Search, SharedOverlay, StaticTable, TrigramOptions};
use foretoken_draft::{Auto, Drafter, Infini, Lookup, Trigram};
use foretoken_model::{FileBytes, LoadedModel, MappedFile, ModelSource};

use super::{LaunchError, chimera, draft_model, in_model, load_options};
use crate::config::{EngineOptions, TrigramSearch};

/// The drafters that requests may name. Those of tables and texts are all there, whichever is the default: they cost
/// nothing until used. `auto` has others of its own, with what they know of the sequences that it drafts for; the files
/// are mapped and shared. Networks are there if somebody asks for them.
pub(super) fn drafters(
    options: &EngineOptions,
    source: &ModelSource,
    model: &LoadedModel,
) -> Result<Vec<Box<dyn Drafter>>, LaunchError> {
    let asked = &options.speculation;
    let search = match asked.trigram_search {
        TrigramSearch::BestFirst => Search::BestFirst,
        TrigramSearch::Mcts => Search::Mcts,
    };
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
    if let Some(chimera) = chimera::load(asked, source, model)? {
        drafters.push(Box::new(chimera));
    }
    if let Some(directory) = &asked.draft_model {
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
pub(super) fn table(
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
