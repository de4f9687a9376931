//! The folder of an unfinished build: parts, and a manifest of what they hold, so that a build that was cut off goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

const MANIFEST: &str = "manifest.json";

/// What parts are called, behind a number.
const EXTENSION: &str = "run";

/// Why a build cannot begin, go on, or end.
#[derive(Debug, Error)]
pub enum PartsError {
    /// The folder of a build holds another one.
    #[error(
        "{place} holds another build: go on with the same inputs and options, or delete the folder"
    )]
    OtherBuild {
        /// The folder.
        place: String,
    },
    /// A file of a build that was cut off is not what it was.
    #[error(
        "{place}: {run} has {found} bytes, where {expected} were written: delete the folder to begin again"
    )]
    TornRun {
        /// The folder.
        place: String,
        /// The file.
        run: String,
        /// Its length.
        found: u64,
        /// The length that it should have.
        expected: u64,
    },
    /// A file cannot be read or written.
    #[error("{place}: {error}")]
    Io {
        /// Which one.
        place: String,
        /// The system's word.
        error: io::Error,
    },
}

impl PartsError {
    /// An error that names its place.
    pub(crate) fn io(place: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let place = place.display().to_string();
        move |error| Self::Io { place, error }
    }
}

/// What is safely on the disk. A part that the manifest does not name is none.
#[derive(Debug, Deserialize, Serialize)]
struct Manifest {
    /// Of what it is built, and how.
    identity: u64,
    /// Documents that the parts hold, in the order in which they came.
    num_documents: u64,
    num_tokens: u64,
    /// Names with lengths.
    runs: Vec<(String, u64)>,
    next_run: u64,
}

impl Manifest {
    fn new(identity: u64) -> Self {
        Self {
            identity,
            num_documents: 0,
            num_tokens: 0,
            runs: Vec::new(),
            next_run: 0,
        }
    }

    /// A folder's manifest, if it has one.
    fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(MANIFEST)) {
            Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The folder, open. It is made when there is something to put in it.
#[derive(Debug)]
pub(crate) struct Parts {
    folder: PathBuf,
    manifest: Manifest,
}

impl Parts {
    /// Opens a folder and checks that what it holds belongs to this build.
    pub(crate) fn open(folder: PathBuf, identity: u64) -> Result<Self, PartsError> {
        let place = folder.display().to_string();
        let manifest = Manifest::read(&folder).map_err(PartsError::io(&folder))?;
        let manifest = manifest.unwrap_or_else(|| Manifest::new(identity));
        if manifest.identity != identity {
            return Err(PartsError::OtherBuild { place });
        }
        for (name, expected) in &manifest.runs {
            let found = fs::metadata(folder.join(name)).map_or(0, |file| file.len());
            if found != *expected {
                let (run, expected) = (name.clone(), *expected);
                return Err(PartsError::TornRun {
                    place,
                    run,
                    found,
                    expected,
                });
            }
        }
        Ok(Self { folder, manifest })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Documents and tokens that the parts hold.
    pub(crate) fn learnt(&self) -> (u64, u64) {
        (self.manifest.num_documents, self.manifest.num_tokens)
    }

    /// The parts, in the order in which they were added.
    pub(crate) fn files(&self) -> impl ExactSizeIterator<Item = PathBuf> {
        let names = self.manifest.runs.iter();
        names.map(|(name, _)| self.folder.join(name))
    }

    /// Adds what completes the first so many documents and tokens. `write` has it lie safely on the disk.
    pub(crate) fn add(
        &mut self,
        learnt: (u64, u64),
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), PartsError> {
        let part = self.write(write)?;
        self.manifest.runs.push(part);
        (self.manifest.num_documents, self.manifest.num_tokens) = learnt;
        self.save().map_err(PartsError::io(&self.folder))
    }

    /// Puts one part in the place of all.
    pub(crate) fn replace(
        &mut self,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), PartsError> {
        let part = self.write(write)?;
        let old = std::mem::replace(&mut self.manifest.runs, vec![part]);
        let replaced = self.save().and_then(|()| {
            let mut old = old.iter().map(|(name, _)| self.folder.join(name));
            old.try_for_each(fs::remove_file)
        });
        replaced.map_err(PartsError::io(&self.folder))
    }

    /// Writes what is built of the parts. It stands under its name when it is whole; then the folder goes. Where that
    /// fails, the parts stay.
    pub(crate) fn finish<E: From<PartsError>>(
        &self,
        output: &Path,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.create().map_err(PartsError::io(&self.folder))?;
        let torn = self.folder.join("whole");
        write(&torn)?;
        fs::rename(&torn, output).map_err(PartsError::io(output))?;
        self.remove().map_err(PartsError::io(&self.folder))?;
        Ok(())
    }

    fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)
    }

    /// Deletes manifest and parts, those too that the manifest does not name, and the folder if nothing else lies in it.
    fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_part = path
                .extension()
                .is_some_and(|extension| extension == EXTENSION);
            if is_part || path.ends_with(MANIFEST) {
                fs::remove_file(path)?;
            }
        }
        // Somebody else's files are theirs to delete.
        _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    /// A new part's name and length.
    fn write(
        &mut self,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(String, u64), PartsError> {
        let name = format!("{:06}.{EXTENSION}", self.manifest.next_run);
        self.manifest.next_run += 1;
        let path = self.folder.join(&name);
        let written = self.create().and_then(|()| {
            write(&path)?;
            Ok(fs::metadata(&path)?.len())
        });
        Ok((name, written.map_err(PartsError::io(&path))?))
    }

    /// Under another name first, so that there is a whole manifest at any time.
    fn save(&self) -> io::Result<()> {
        let (whole, torn) = (MANIFEST, "manifest.new");
        let mut file = File::create(self.folder.join(torn))?;
        file.write_all(&serde_json::to_vec(&self.manifest)?)?;
        file.sync_all()?;
        fs::rename(self.folder.join(torn), self.folder.join(whole))
    }
}
