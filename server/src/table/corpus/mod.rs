//! Texts of any size as documents of tokens, one after another.

mod input;
mod lines;
mod parquet;
mod record;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use foretoken_model::Token;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::tokens::Tokens;
use crate::config::TextOptions;
use input::{Content, Raw};
pub(crate) use record::Record;

/// Bytes of text that are tokenised together, on all processors.
const BATCH: usize = 4 << 20;

/// The inputs, and what makes tokens of them.
pub(crate) struct Corpus {
    /// Paths with sizes.
    inputs: Vec<(PathBuf, u64)>,
    shape: Shape,
    tokens: Tokens,
    identity: u64,
}

/// Where documents begin and end.
struct Shape {
    field: Option<String>,
    separator: Option<String>,
    max_chars: Option<usize>,
}

impl Corpus {
    /// Looks whether all inputs are there.
    pub(crate) fn open(paths: &[PathBuf], texts: &TextOptions, tokens: Tokens) -> Result<Self> {
        let mut inputs = Vec::new();
        let mut identity = format!(
            "{} {:?} {:?} {:?}",
            tokens.identity(),
            texts.field,
            texts.document_separator,
            texts.max_chars
        );
        for path in paths {
            let place = || path.display().to_string();
            let file = std::fs::metadata(path).with_context(place)?;
            let modified = file.modified()?.duration_since(UNIX_EPOCH);
            inputs.push((path.clone(), file.len()));
            identity += &format!("\n{path:?} {} {modified:?}", file.len());
        }
        Ok(Self {
            inputs,
            shape: Shape {
                field: texts.field.clone(),
                separator: texts.document_separator.clone(),
                max_chars: texts.max_chars.map(|most| most as usize),
            },
            tokens,
            identity: xxh3_64(identity.as_bytes()),
        })
    }

    /// Names the documents, their order and what is made of them, as far as that shows without reading them.
    pub(crate) fn identity(&self, made: impl Debug) -> u64 {
        xxh3_64(format!("{} {made:?}", self.identity).as_bytes())
    }

    /// Hands on the tokens of each document but the first `skip`, always in the same order.
    pub(crate) fn each_document(
        &self,
        mut skip: u64,
        mut learn: impl FnMut(&[Token]) -> Result<()>,
    ) -> Result<()> {
        let progress = progress(self.inputs.iter().map(|input| input.1).sum());
        for (path, _) in &self.inputs {
            let place = || path.display().to_string();
            progress.set_message(place());
            let mut documents = input::open(path, &self.shape, &progress).with_context(place)?;
            while skip > 0
                && let Some(document) = documents.next()
            {
                document.with_context(place)?;
                skip -= 1;
            }
            loop {
                let batch = batch(&mut documents).with_context(place)?;
                if batch.is_empty() {
                    break;
                }
                for document in self.tokenise(&batch).with_context(place)? {
                    learn(&document)?;
                }
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// Hands on each record as it was found, always in the same order.
    pub(crate) fn each_record(&self, mut read: impl FnMut(Record)) -> Result<()> {
        let progress = progress(self.inputs.iter().map(|input| input.1).sum());
        for (path, _) in &self.inputs {
            let place = || path.display().to_string();
            for raw in input::open(path, &self.shape, &progress).with_context(place)? {
                let raw = raw.with_context(place)?;
                let place = || format!("document at {}", raw.place);
                read(self.record(&raw.content).with_context(place)?);
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn tokenise(&self, batch: &[Raw]) -> Result<Vec<Vec<Token>>> {
        let documents = batch.par_iter().map(|raw| {
            let place = || format!("document at {}", raw.place);
            self.document(&raw.content).with_context(place)
        });
        documents.collect()
    }

    fn document(&self, content: &Content) -> Result<Vec<Token>> {
        match self.record(content)? {
            Record::Text(text) => self.tokens.text(&text),
            Record::Chat(messages) => self.tokens.chat(&messages),
        }
    }

    fn record(&self, content: &Content) -> Result<Record> {
        let mut text = match content {
            Content::Text(text) => text.clone(),
            Content::Json(json) => match Record::parse(json, self.shape.field.as_deref())? {
                Record::Text(text) => text,
                chat => return Ok(chat),
            },
        };
        let most = self.shape.max_chars;
        let end = most.and_then(|most| text.char_indices().nth(most));
        text.truncate(end.map_or(text.len(), |(end, _)| end));
        Ok(Record::Text(text))
    }
}

/// The next documents, as many as are worth a round of all processors.
fn batch(documents: &mut impl Iterator<Item = Result<Raw>>) -> Result<Vec<Raw>> {
    let mut batch = Vec::new();
    let mut num_bytes = 0;
    while num_bytes < BATCH
        && let Some(document) = documents.next().transpose()?
    {
        num_bytes += document.content.len();
        batch.push(document);
    }
    Ok(batch)
}

/// A bar over the bytes of all inputs.
fn progress(num_bytes: u64) -> ProgressBar {
    let style = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {wide_msg}";
    let style = ProgressStyle::with_template(style);
    ProgressBar::new(num_bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
