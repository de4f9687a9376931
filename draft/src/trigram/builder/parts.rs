//! The folder of a build: sorted runs, and a manifest of what they hold, so that a build that was cut off goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BuildError;
use super::count::Count;
use super::run::{self, Run};

const MANIFEST: &str = "manifest.json";

/// Runs that are merged into one when there are so many: as many files are open at once.
const MAX_RUNS: usize = 64;

/// What is safely on the disk. A run that the manifest does not name is none.
#[derive(Debug, Deserialize, Serialize)]
struct Manifest {
    /// Of what the table is built, and how.
    identity: u64,
    /// Documents that the runs hold, in the order in which they came.
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

/// The folder, open.
#[derive(Debug)]
pub(super) struct Parts {
    folder: PathBuf,
    manifest: Manifest,
}

impl Parts {
    /// Opens a folder and checks that what it holds belongs to this build.
    pub(super) fn open(folder: PathBuf, identity: u64) -> Result<Self, BuildError> {
        let place = folder.display().to_string();
        let manifest = Manifest::read(&folder).map_err(BuildError::io(&folder))?;
        let manifest = manifest.unwrap_or_else(|| Manifest::new(identity));
        if manifest.identity != identity {
            return Err(BuildError::OtherBuild { place });
        }
        for (name, expected) in &manifest.runs {
            let found = fs::metadata(folder.join(name)).map_or(0, |file| file.len());
            if found != *expected {
                let (run, expected) = (name.clone(), *expected);
                return Err(BuildError::TornRun {
                    place,
                    run,
                    found,
                    expected,
                });
            }
        }
        Ok(Self { folder, manifest })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Documents and tokens that the runs hold.
    pub(super) fn learnt(&self) -> (u64, u64) {
        (self.manifest.num_documents, self.manifest.num_tokens)
    }

    pub(super) fn has_runs(&self) -> bool {
        !self.manifest.runs.is_empty()
    }

    /// Writes counts, in order, that complete the first so many documents and tokens.
    pub(super) fn spill(&mut self, counts: &[Count], learnt: (u64, u64)) -> io::Result<()> {
        let run = self.write(counts.iter().copied().map(Ok))?;
        self.manifest.runs.push(run);
        (self.manifest.num_documents, self.manifest.num_tokens) = learnt;
        self.save()?;
        if self.manifest.runs.len() >= MAX_RUNS {
            self.compact()?;
        }
        Ok(())
    }

    /// All runs, for merging.
    pub(super) fn runs(&self) -> io::Result<Vec<Run<'static>>> {
        let names = self.manifest.runs.iter();
        names
            .map(|(name, _)| run::read(&self.folder.join(name)))
            .collect()
    }

    /// Makes the folder, unless it is there: what is refused before it holds anything leaves nothing behind.
    pub(super) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)
    }

    /// Deletes manifest and runs, those too that the manifest does not name, and the folder if nothing else lies in it.
    pub(super) fn remove(self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_run = path.extension().is_some_and(|extension| extension == "run");
            if is_run || path.ends_with(MANIFEST) {
                fs::remove_file(path)?;
            }
        }
        // Somebody else's files are theirs to delete.
        _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        let merged = self.write(run::merge(self.runs()?)?)?;
        let old = std::mem::replace(&mut self.manifest.runs, vec![merged]);
        self.save()?;
        for (name, _) in old {
            fs::remove_file(self.folder.join(name))?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        counts: impl Iterator<Item = io::Result<Count>>,
    ) -> io::Result<(String, u64)> {
        let name = format!("{:06}.run", self.manifest.next_run);
        self.manifest.next_run += 1;
        self.create()?;
        let path = self.folder.join(&name);
        run::write(&path, counts)?;
        Ok((name, fs::metadata(path)?.len()))
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
