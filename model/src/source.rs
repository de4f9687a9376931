//! Where a model's files lie: in a folder, or in the binary itself.

use std::borrow::Cow;
use std::ops::Deref;
use std::path::PathBuf;

use crate::error::LoadError;
use crate::mapped_file::MappedFile;

/// The files of one model, by the names that Hugging Face gives them.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// A folder.
    Directory(PathBuf),
    /// Names and contents compiled into the binary.
    Embedded(Cow<'static, [(&'static str, &'static [u8])]>),
}

/// A file's contents, read in place.
#[derive(Debug)]
pub enum FileBytes {
    /// From a folder.
    Mapped(MappedFile),
    /// From the binary.
    Static(&'static [u8]),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Static(bytes) => bytes,
        }
    }
}

impl ModelSource {
    /// The contents of a file; none if there is no such file.
    pub fn find(&self, name: &str) -> Result<Option<FileBytes>, LoadError> {
        match self {
            Self::Embedded(files) => {
                let found = files.iter().find(|(file, _)| *file == name);
                Ok(found.map(|(_, bytes)| FileBytes::Static(bytes)))
            }
            Self::Directory(directory) => match MappedFile::open(&directory.join(name)) {
                Ok(file) => Ok(Some(FileBytes::Mapped(file))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(LoadError::Unreadable {
                    file: name.to_owned(),
                    error,
                }),
            },
        }
    }

    /// The contents of a file that has to be there.
    pub fn read(&self, name: &str) -> Result<FileBytes, LoadError> {
        let missing = || LoadError::MissingFile {
            file: name.to_owned(),
            place: self.place().into_owned(),
        };
        self.find(name)?.ok_or_else(missing)
    }

    /// The files of a folder beside the model's own; none if there is no such folder.
    pub fn folder(&self, name: &str) -> Option<Self> {
        match self {
            Self::Directory(directory) => {
                let folder = directory.join(name);
                folder.is_dir().then_some(Self::Directory(folder))
            }
            Self::Embedded(files) => {
                let within = |(file, bytes): &(&'static str, &'static [u8])| {
                    let file = file.strip_prefix(name)?.strip_prefix('/')?;
                    Some((file, *bytes))
                };
                let files: Vec<_> = files.iter().filter_map(within).collect();
                (!files.is_empty()).then_some(Self::Embedded(files.into()))
            }
        }
    }

    /// Where the files lie, in words.
    pub fn place(&self) -> Cow<'_, str> {
        match self {
            Self::Directory(directory) => directory.to_string_lossy(),
            Self::Embedded(_) => Cow::Borrowed("the model that the binary carries"),
        }
    }

    /// A name for the model where none is given: the folder's.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded(_) => "demo".to_owned(),
            Self::Directory(directory) => {
                let name = directory.file_name().unwrap_or(directory.as_os_str());
                name.to_string_lossy().into_owned()
            }
        }
    }
}
