//! The model that foretoken carries, so that it serves with no arguments and nothing to fetch.

use crate::source::ModelSource;

impl ModelSource {
    /// The model that the binary carries, or the folder it would be carried from.
    pub fn demo() -> Self {
        source()
    }
}

/// The carried model's files.
#[cfg(feature = "embed-demo")]
fn source() -> ModelSource {
    macro_rules! embed {
        ($($name:literal),* $(,)?) => {
            &[$(($name, include_bytes!(concat!("../demo/", $name)).as_slice())),*]
        };
    }
    static FILES: &[(&str, &[u8])] = embed![
        "chimera/config.json",
        "chimera/model.safetensors",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "trigram.ftt",
    ];
    ModelSource::Embedded(FILES.into())
}

/// The folder that the model would be carried from.
#[cfg(not(feature = "embed-demo"))]
fn source() -> ModelSource {
    ModelSource::Directory(concat!(env!("CARGO_MANIFEST_DIR"), "/demo").into())
}
