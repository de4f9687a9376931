//! Texts of any size as documents of tokens, one after another.

mod input;
mod lines;
mod parquet;
mod record;

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use foretoken_model::Token;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::tokens::Tokens;
use crate::config::TableBuildConfig;
use input::{Content, Raw};
use record::Record;

/// Bytes of text that are tokenised together, on all processors.
const BATCH: usize = 4 << 20;

/// The inputs, and what makes tokens of them.
pub(super) struct Corpus {
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
    pub(super) fn open(config: &TableBuildConfig, tokens: Tokens) -> Result<Self> {
        let mut inputs = Vec::new();
        let mut identity = format!(
            "{:?} {} {:?} {:?} {:?}",
            config.kind,
            tokens.identity(),
            config.field,
            config.document_separator,
            config.max_chars
        );
        for path in &config.input {
            let place = || path.display().to_string();
            let file = std::fs::metadata(path).with_context(place)?;
            let modified = file.modified()?.duration_since(UNIX_EPOCH);
            inputs.push((path.clone(), file.len()));
            identity += &format!("\n{path:?} {} {modified:?}", file.len());
        }
        Ok(Self {
            inputs,
            shape: Shape {
                field: config.field.clone(),
                separator: config.document_separator.clone(),
                max_chars: config.max_chars.map(|most| most as usize),
            },
            tokens,
            identity: xxh3_64(identity.as_bytes()),
        })
    }

    /// Names the documents, their order and what is made of them, as far as that shows without reading them.
    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Hands on the tokens of each document but the first `skip`, always in the same order.
    pub(super) fn each_document(
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

    fn tokenise(&self, batch: &[Raw]) -> Result<Vec<Vec<Token>>> {
        let documents = batch.par_iter().map(|raw| {
            let place = || format!("document at {}", raw.place);
            self.document(&raw.content).with_context(place)
        });
        documents.collect()
    }

    fn document(&self, content: &Content) -> Result<Vec<Token>> {
        let text = match content {
            Content::Text(text) => text,
            Content::Json(json) => match Record::parse(json, self.shape.field.as_deref())? {
                Record::Text(text) => &{ text },
                Record::Chat(messages) => return self.tokens.chat(&messages),
            },
        };
        let most = self.shape.max_chars;
        let end = most.and_then(|most| text.char_indices().nth(most));
        self.tokens.text(end.map_or(text, |(end, _)| &text[..end]))
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
