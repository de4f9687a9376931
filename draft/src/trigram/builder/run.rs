//! Sorted runs of counts: in files, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::count::Count;

/// Counts in order, from memory or from a file.
pub(super) type Run<'a> = Box<dyn Iterator<Item = io::Result<Count>> + 'a>;

/// Writes a run and has it lie safely on the disk.
pub(super) fn write(
    path: &Path,
    counts: impl Iterator<Item = io::Result<Count>>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for count in counts {
        file.write_all(&count?.to_bytes())?;
    }
    file.into_inner()?.sync_all()
}

/// Opens runs for reading.
pub(super) fn read_all<'a>(files: impl Iterator<Item = PathBuf>) -> io::Result<Vec<Run<'a>>> {
    files.map(|file| read(&file)).collect()
}

fn read<'a>(path: &Path) -> io::Result<Run<'a>> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    Ok(Box::new(std::iter::from_fn(move || {
        let mut bytes = [0; Count::SIZE];
        match file.read_exact(&mut bytes) {
            Ok(()) => Some(Ok(Count::from_bytes(bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => Some(Err(error)),
        }
    })))
}

/// Bytes read at once, of each run.
const BUFFER: usize = 1 << 18;

/// One run out of several.
pub(super) fn merge(runs: Vec<Run<'_>>) -> io::Result<Merge<'_>> {
    let mut merge = Merge {
        heads: BinaryHeap::new(),
        runs,
    };
    for index in 0..merge.runs.len() {
        if let Some(count) = merge.runs[index].next() {
            merge.heads.push(Reverse((count?, index)));
        }
    }
    Ok(merge)
}

/// Each count once, its parts from all runs added.
pub(super) struct Merge<'a> {
    /// The next count of each run that has one, the smallest on top.
    heads: BinaryHeap<Reverse<(Count, usize)>>,
    runs: Vec<Run<'a>>,
}

impl Merge<'_> {
    /// Takes the smallest head, if `wanted`, and puts its run's next in its place.
    fn pop_if(&mut self, wanted: impl FnOnce(Count) -> bool) -> io::Result<bool> {
        let Some(mut head) = self.heads.peek_mut() else {
            return Ok(false);
        };
        let Reverse((count, index)) = *head;
        if !wanted(count) {
            return Ok(false);
        }
        match self.runs[index].next().transpose()? {
            Some(next) => *head = Reverse((next, index)),
            None => _ = PeekMut::pop(head),
        }
        Ok(true)
    }
}

impl Iterator for Merge<'_> {
    type Item = io::Result<Count>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut sum = self.heads.peek()?.0.0;
        let mut is_first = true;
        loop {
            let same = |count| std::mem::take(&mut is_first) || sum.absorb(count);
            match self.pop_if(same) {
                Ok(true) => {}
                Ok(false) => return Some(Ok(sum)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
