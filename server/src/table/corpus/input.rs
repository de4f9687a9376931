//! One input as raw documents.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Result, bail};
use indicatif::ProgressBar;

use super::Shape;
use super::lines::{Lines, PlainDocuments};
use super::parquet;

/// A document as it was found.
pub(super) struct Raw {
    pub(super) content: Content,
    /// Where, in words.
    pub(super) place: String,
}

/// What was found.
pub(super) enum Content {
    /// A text.
    Text(String),
    /// A record that holds a text or a chat.
    Json(String),
}

impl Content {
    /// Its bytes, for a fair share of work.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
        }
    }
}

/// An input's documents, in order.
pub(super) type Documents = Box<dyn Iterator<Item = Result<Raw>>>;

/// Opens an input: its name says what it is.
pub(super) fn open(path: &Path, shape: &Shape, progress: &ProgressBar) -> Result<Documents> {
    let is = |path: &Path, extension: &str| path.extension() == Some(OsStr::new(extension));
    if is(path, "parquet") {
        let field = shape.field.as_deref().unwrap_or("text");
        return parquet::documents(path, field, progress.clone());
    }
    let file = progress.wrap_read(File::open(path)?);
    let (file, path): (Box<dyn BufRead>, _) = match is(path, "zst") {
        true => {
            let file = zstd::Decoder::new(file)?;
            (Box::new(BufReader::new(file)), path.with_extension(""))
        }
        false => (Box::new(BufReader::new(file)), path.to_owned()),
    };
    if is(&path, "jsonl") || is(&path, "ndjson") {
        return Ok(Box::new(records(Lines::new(file))));
    }
    for (unread, advice) in UNREAD {
        if is(&path, unread) {
            bail!("{advice}");
        }
    }
    let (separator, max_chars) = (shape.separator.clone(), shape.max_chars);
    Ok(Box::new(PlainDocuments::new(
        Lines::new(file),
        separator,
        max_chars,
    )))
}

/// What would be taken for text.
const UNREAD: [(&str, &str); 3] = [
    (
        "json",
        "one JSON value: write a record per line, as `jq -c '.[]'` does, and name it .jsonl",
    ),
    ("gz", "gzip is not read: unpack it, or pack it with zstd"),
    ("zip", "zip is not read: unpack it"),
];

/// One document per line that is not blank.
fn records(lines: Lines) -> impl Iterator<Item = Result<Raw>> {
    lines
        .filter(|line| !matches!(line, Ok((_, line)) if line.trim().is_empty()))
        .map(|line| {
            let (number, line) = line?;
            Ok(Raw {
                content: Content::Json(line),
                place: format!("line {number}"),
            })
        })
}
