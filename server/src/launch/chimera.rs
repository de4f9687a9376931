//! The drafter `chimera`'s network.

use foretoken_draft::{Chimera, Shape};
use foretoken_model::{LoadedModel, ModelSource};

use super::LaunchError;
use crate::config::{ChimeraTree, SpeculationOptions};

/// Beside a model's own files.
const FOLDER: &str = "chimera";

/// The drafter of the folder that is named, or, if it is the server's own drafter, of the one beside the model. It works
/// in every step, whoever drafts, so it is not there unless somebody asks for it.
pub(super) fn load(
    options: &SpeculationOptions,
    source: &ModelSource,
    model: &LoadedModel,
) -> Result<Option<Chimera>, LaunchError> {
    let folder = match (&options.chimera, options.drafter.as_str()) {
        (Some(named), _) => ModelSource::Directory(named.clone()),
        (None, "chimera") => {
            let place = || source.place().into_owned();
            let beside = source.folder(FOLDER);
            beside.ok_or_else(|| LaunchError::NoChimera { place: place() })?
        }
        (None, _) => return Ok(None),
    };
    let shape = match options.chimera_tree {
        ChimeraTree::Dynamic => Shape::Dynamic,
        ChimeraTree::Fixed => Shape::PUBLISHED,
    };
    let chimera = Chimera::load(&folder, &model.llama, shape);
    chimera.map(Some).map_err(|error| LaunchError::Chimera {
        place: folder.place().into_owned(),
        error,
    })
}
