//! Rows as the file stores them.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use foretoken_model::Token;
use xxhash_rust::xxh3::Xxh3;

use super::row::Row;
use crate::trigram::table::{HEADER, Header, WORD, num_starts, pack};

/// Writes a file whose numbers of rows and successors are known: `header` lacks what only the rows can tell.
pub(super) fn write(
    path: &Path,
    mut header: Header,
    rows: impl Iterator<Item = io::Result<Row>>,
) -> io::Result<()> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(header.file_size())?;
    let starts_at = HEADER as u64;
    let lasts_at = starts_at + (num_starts(header.vocabulary.size) * WORD) as u64;
    let ends_at = lasts_at + u64::from(header.num_rows) * WORD as u64;
    let successors_at = ends_at + u64::from(header.num_rows) * WORD as u64;
    let section = |at| section(path, at);
    let mut sections = Sections {
        starts: section(starts_at)?,
        lasts: section(lasts_at)?,
        ends: section(ends_at)?,
        successors: section(successors_at)?,
        vocab_size: header.vocabulary.size,
        num_starts: 0,
        num_rows: 0,
        num_successors: 0,
    };
    for row in rows {
        let row = row?;
        if row.suffix.is_pair() {
            let counts = row.counts.iter();
            header.num_kept += counts.map(|&(_, count)| u64::from(count)).sum::<u64>();
        }
        sections.add(&row)?;
    }
    sections.finish()?;
    header.content = hash(&mut file, HEADER as u64)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header.to_bytes())?;
    file.sync_all()
}

fn section(path: &Path, at: u64) -> io::Result<BufWriter<File>> {
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(BufWriter::new(file))
}

/// xxh3 of a file from `at` on.
fn hash(file: &mut File, at: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(at))?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.digest()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// The sections, written side by side.
struct Sections {
    starts: BufWriter<File>,
    lasts: BufWriter<File>,
    ends: BufWriter<File>,
    successors: BufWriter<File>,
    vocab_size: Token,
    num_starts: usize,
    num_rows: u32,
    num_successors: u32,
}

impl Sections {
    fn add(&mut self, row: &Row) -> io::Result<()> {
        let [first, last] = row.suffix.tokens();
        self.start(first.unwrap_or(self.vocab_size) as usize)?;
        let last = last.unwrap_or(Token::MAX);
        self.lasts.write_all(&last.to_le_bytes())?;
        self.num_rows += 1;
        self.num_successors += row.counts.len() as u32;
        self.ends.write_all(&self.num_successors.to_le_bytes())?;
        for &(token, count) in &row.counts {
            let successor = pack(token, count as f32 * row.unit);
            self.successors.write_all(&successor.to_le_bytes())?;
        }
        Ok(())
    }

    /// The next row is one of `first`: so start its rows, and those of all before that have none.
    fn start(&mut self, first: usize) -> io::Result<()> {
        while self.num_starts <= first {
            self.starts.write_all(&self.num_rows.to_le_bytes())?;
            self.num_starts += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.start(num_starts(self.vocab_size) - 1)?;
        for mut section in [self.starts, self.lasts, self.ends, self.successors] {
            section.flush()?;
        }
        Ok(())
    }
}
