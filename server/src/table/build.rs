//! `foretoken table build`: documents in, a table out.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use foretoken_draft::infini::CorpusBuilder;
use foretoken_draft::trigram::{Pruning, TableBuilder};
use foretoken_model::Token;

use super::corpus::Corpus;
use super::info;
use super::tokens::Tokens;
use crate::config::{CountingConfig, TableBuildConfig, TableKind};

/// Memory for counts.
const MEMORY: u64 = 1 << 30;

/// Reads the texts and writes the table. What reads and tokenises knows nothing of tables: whatever learns from
/// documents goes the same way.
pub(super) fn build(config: &TableBuildConfig) -> Result<()> {
    let tokens = Tokens::open(config.tokenizer.as_deref())?;
    let vocabulary = (tokens.vocab_size, tokens.tokenizer.fingerprint());
    let corpus = Corpus::open(config, tokens)?;
    match config.kind {
        TableKind::Trigram => count(config, vocabulary, &corpus)?,
        TableKind::SuffixArray => sort(config, vocabulary, &corpus)?,
    }
    let table = info::open(&config.output)?;
    table.describe(&mut anstream::stdout().lock())?;
    Ok(())
}

/// A trigram table for so many tokens of a tokenizer.
fn count(
    config: &TableBuildConfig,
    (vocab_size, fingerprint): (usize, u64),
    corpus: &Corpus,
) -> Result<()> {
    let counting = &config.counting;
    let memory = usize::try_from(counting.memory_limit.unwrap_or(MEMORY));
    let mut builder = TableBuilder::open(
        vocab_size,
        fingerprint,
        parts(config),
        corpus.identity(),
        memory.context("--memory-limit")?,
    )?;
    go_on(corpus, builder.num_documents(), |document| {
        Ok(builder.learn(document)?)
    })?;
    tell(builder.num_documents(), builder.num_tokens());
    builder.write(pruning(counting), &config.output)?;
    Ok(())
}

fn pruning(counting: &CountingConfig) -> Pruning {
    let min_pair_count = counting.min_count.unwrap_or(2);
    Pruning {
        min_pair_count,
        min_other_count: counting.min_other_count.unwrap_or(min_pair_count),
        max_pair_successors: counting.max_successors.unwrap_or(12),
        max_size: counting.max_size.unwrap_or(u64::MAX),
    }
}

/// A suffix array for so many tokens of a tokenizer.
fn sort(
    config: &TableBuildConfig,
    (vocab_size, fingerprint): (usize, u64),
    corpus: &Corpus,
) -> Result<()> {
    ensure!(
        config.counting == CountingConfig::default(),
        "--min-count, --min-other-count, --max-successors, --max-size and --memory-limit are for --kind trigram: a \
         suffix array counts and prunes nothing"
    );
    let mut builder =
        CorpusBuilder::open(vocab_size, fingerprint, parts(config), corpus.identity())?;
    go_on(corpus, builder.num_documents(), |document| {
        Ok(builder.learn(document)?)
    })?;
    tell(builder.num_documents(), builder.num_tokens());
    eprintln!("sorting");
    builder.write(&config.output)?;
    Ok(())
}

/// Hands on the documents behind those that were learnt before the build was cut off.
fn go_on(
    corpus: &Corpus,
    num_learnt: u64,
    learn: impl FnMut(&[Token]) -> Result<()>,
) -> Result<()> {
    if num_learnt > 0 {
        eprintln!("going on after {num_learnt} documents");
    }
    corpus.each_document(num_learnt, learn)
}

fn tell(num_documents: u64, num_tokens: u64) {
    eprintln!("{num_documents} documents, {num_tokens} tokens");
}

/// Where an unfinished build lies.
fn parts(config: &TableBuildConfig) -> PathBuf {
    let mut path = config.output.clone().into_os_string();
    path.push(".parts");
    path.into()
}
