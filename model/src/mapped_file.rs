//! Files read in place.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

/// A file mapped into memory, read only.
#[derive(Debug)]
pub struct MappedFile {
    map: memmap2::Mmap,
}

impl MappedFile {
    /// Maps a file. Its bytes are checked where they are read: a file that another process changes meanwhile gives
    /// wrong numbers, one that it cuts short ends the process, as with every memory-mapped file.
    #[expect(
        unsafe_code,
        reason = "mapping is unsafe because others may change the file; see the doc"
    )]
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is private and read only; that nobody truncates a served model is the operator's part.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self { map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
