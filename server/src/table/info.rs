//! `foretoken table info`: what a table holds.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use foretoken_draft::infini::Corpus;
use foretoken_draft::trigram::StaticTable;
use foretoken_model::{MappedFile, Token};

use super::tokens::Tokens;
use crate::config::TableInfoConfig;

/// Prints what the header says and, if asked for, whether the rest is whole and what follows a text.
pub(super) fn info(config: &TableInfoConfig) -> Result<()> {
    let table = open(&config.file)?;
    let mut out = anstream::stdout().lock();
    table.describe(&mut out)?;
    if config.verify {
        table.verify()?;
        writeln!(out, "content      whole: it hashes to what was written")?;
    }
    if let Some(text) = &config.show {
        let tokens = Tokens::open(config.tokenizer.as_deref())?;
        table.show(&mut out, &tokens, text)?;
    }
    Ok(())
}

/// A table of either kind, and where it lies.
pub(super) struct Table {
    place: String,
    kind: Kind,
}

enum Kind {
    Trigram(Box<StaticTable>),
    SuffixArray(Corpus),
}

/// Opens a table: its first bytes say what it is.
pub(super) fn open(path: &Path) -> Result<Table> {
    let place = path.display().to_string();
    let file = MappedFile::open(path).with_context(|| place.clone())?;
    let kind = match file.first_chunk() {
        Some(&Corpus::MAGIC) => Kind::SuffixArray(Corpus::open(file).context(place.clone())?),
        Some(found) if *found != StaticTable::MAGIC => bail!(
            "{place}: it starts with {found:02x?}: neither a trigram table of this version ({:02x?}) nor a suffix \
             array ({:02x?})",
            StaticTable::MAGIC,
            Corpus::MAGIC
        ),
        _ => Kind::Trigram(Box::new(StaticTable::open(file).context(place.clone())?)),
    };
    Ok(Table { place, kind })
}

impl Table {
    /// What its header says.
    pub(super) fn describe(&self, out: &mut impl Write) -> io::Result<()> {
        let place = &self.place;
        match &self.kind {
            Kind::Trigram(table) => {
                writeln!(out, "{place}: a trigram table, version 2")?;
                self.made_for(out, table.num_bytes(), table.vocab_size())?;
                describe_rows(out, table)
            }
            Kind::SuffixArray(corpus) => {
                writeln!(out, "{place}: a suffix array, version 1")?;
                self.made_for(out, corpus.num_bytes(), corpus.vocab_size())?;
                let num_documents = corpus.num_documents();
                let num_tokens = corpus.num_tokens().saturating_sub(num_documents);
                writeln!(out, "documents    {num_documents}")?;
                writeln!(out, "tokens       {num_tokens}")
            }
        }
    }

    fn made_for(
        &self,
        out: &mut impl Write,
        num_bytes: usize,
        vocab_size: usize,
    ) -> io::Result<()> {
        let fingerprint = self.fingerprint();
        writeln!(out, "size         {num_bytes} bytes")?;
        writeln!(
            out,
            "made for     {vocab_size} tokens of tokenizer {fingerprint:#018x}"
        )
    }

    fn fingerprint(&self) -> u64 {
        match &self.kind {
            Kind::Trigram(table) => table.fingerprint(),
            Kind::SuffixArray(corpus) => corpus.fingerprint(),
        }
    }

    /// Reads all of it and compares with what was written.
    fn verify(&self) -> Result<()> {
        let place = || self.place.clone();
        match &self.kind {
            Kind::Trigram(table) => table.verify().with_context(place),
            Kind::SuffixArray(corpus) => corpus.verify().with_context(place),
        }
    }

    fn after(&self, text: &[Token]) -> (usize, Vec<(Token, f32)>) {
        match &self.kind {
            Kind::Trigram(table) => table.after(text),
            Kind::SuffixArray(corpus) => corpus.after(text),
        }
    }

    /// What the table expects after a text, likeliest first.
    fn show(&self, out: &mut impl Write, tokens: &Tokens, text: &str) -> Result<()> {
        let (found, expected) = (tokens.tokenizer.fingerprint(), self.fingerprint());
        ensure!(
            found == expected,
            "--show: the tokenizer is {found:#018x}, the table is made for {expected:#018x}: see --tokenizer"
        );
        let (len, successors) = self.after(&tokens.tokenizer.encode(text, false)?);
        let after = match len {
            0 => "none of these tokens",
            1 => "the last token",
            len => &format!("the last {len} tokens"),
        };
        writeln!(out, "after {after} of {text:?}:")?;
        for (token, chance) in successors {
            let word = tokens.tokenizer.decode(&[token], false)?;
            writeln!(out, "  {:5.1} %  {word:?}", 100.0 * chance)?;
        }
        Ok(())
    }
}

fn describe_rows(out: &mut impl Write, table: &StaticTable) -> io::Result<()> {
    let (num_counted, num_kept) = table.coverage();
    let share = 100.0 * num_kept as f64 / num_counted.max(1) as f64;
    let (num_rows, num_pair_rows) = (table.num_rows(), table.num_pair_rows());
    writeln!(
        out,
        "rows         {num_pair_rows} of two tokens, {} of one or none",
        num_rows - num_pair_rows
    )?;
    writeln!(out, "successors   {}", table.num_successors())?;
    writeln!(
        out,
        "kept         {share:.1} % of what followed two tokens: {num_kept} of {num_counted} times"
    )
}
