//! The drafter `chimera`'s network.

use foretoken_draft::{Chimera, Shape};
use foretoken_model::{LoadedModel, ModelSource};

use super::LaunchError;
use crate::config::{ChimeraTree, SpeculationOptions};

/// Beside a model's own files.
const FOLDER: &str = "chimera";

/// The drafter of the folder that is named, or of the one beside the model, if it has one.
pub(super) fn load(
    options: &SpeculationOptions,
    source: &ModelSource,
    model: &LoadedModel,
) -> Result<Option<Chimera>, LaunchError> {
    let named = options.chimera.clone().map(ModelSource::Directory);
    let Some(folder) = named.or_else(|| source.folder(FOLDER)) else {
        return match options.drafter.as_str() {
            "chimera" => Err(LaunchError::NoChimera {
                place: source.place().into_owned(),
            }),
            _ => Ok(None),
        };
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
