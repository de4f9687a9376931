//! `foretoken table build`: documents in, a table out.

use std::path::PathBuf;

use anyhow::{Context, Result};
use foretoken_draft::trigram::{Pruning, TableBuilder};
use foretoken_model::MappedFile;

use super::corpus::Corpus;
use super::info;
use super::tokens::Tokens;
use crate::config::TableBuildConfig;

/// Counts the corpus and writes the table. What reads and tokenises knows nothing of tables: anything else that learns
/// from documents goes the same way.
pub(super) fn build(config: &TableBuildConfig) -> Result<()> {
    let tokens = Tokens::open(config.tokenizer.as_deref())?;
    let (vocab_size, fingerprint) = (tokens.vocab_size, tokens.tokenizer.fingerprint());
    let corpus = Corpus::open(config, tokens)?;
    let memory = usize::try_from(config.memory_limit).context("--memory-limit")?;
    let mut builder = TableBuilder::open(
        vocab_size,
        fingerprint,
        parts(config),
        corpus.identity(),
        memory,
    )?;
    let learnt = builder.num_documents();
    if learnt > 0 {
        eprintln!("going on after {learnt} documents");
    }
    corpus.each_document(learnt, |document| Ok(builder.learn(document)?))?;
    eprintln!(
        "{} documents, {} tokens",
        builder.num_documents(),
        builder.num_tokens()
    );
    let pruning = Pruning {
        min_pair_count: config.min_count,
        min_other_count: config.min_other_count.unwrap_or(config.min_count),
        max_pair_successors: config.max_successors,
        max_size: config.max_size.unwrap_or(u64::MAX),
    };
    builder.write(pruning, &config.output)?;
    let place = || config.output.display().to_string();
    let file = MappedFile::open(&config.output).with_context(place)?;
    info::print(file, &place())?;
    Ok(())
}

/// Where an unfinished build lies.
fn parts(config: &TableBuildConfig) -> PathBuf {
    let mut path = config.output.clone().into_os_string();
    path.push(".parts");
    path.into()
}
