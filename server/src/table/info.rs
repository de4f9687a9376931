//! `foretoken table info`: what a table holds.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use foretoken_draft::trigram::StaticTable;
use foretoken_model::MappedFile;

use super::tokens::Tokens;
use crate::config::TableInfoConfig;

/// Prints what the header says and, if asked for, whether the rest is whole and what follows a text.
pub(super) fn info(config: &TableInfoConfig) -> Result<()> {
    let place = config.file.display().to_string();
    let file = MappedFile::open(&config.file).with_context(|| place.clone())?;
    let table = print(file, &place)?;
    let mut out = anstream::stdout().lock();
    if config.verify {
        table.verify().with_context(|| place.clone())?;
        writeln!(out, "content      whole: it hashes to what was written")?;
    }
    if let Some(text) = &config.show {
        let tokens = Tokens::open(config.tokenizer.as_deref())?;
        show(&mut out, &table, &tokens, text)?;
    }
    Ok(())
}

/// Opens a table and prints what its header says.
pub(super) fn print(file: MappedFile, place: &str) -> Result<StaticTable> {
    let table = StaticTable::open(file).with_context(|| place.to_owned())?;
    let (num_counted, num_kept) = table.coverage();
    let share = 100.0 * num_kept as f64 / num_counted.max(1) as f64;
    let mut out = anstream::stdout().lock();
    writeln!(out, "{place}: a trigram table, version 2")?;
    writeln!(out, "size         {} bytes", table.num_bytes())?;
    writeln!(
        out,
        "made for     {} tokens of tokenizer {:#018x}",
        table.vocab_size(),
        table.fingerprint()
    )?;
    writeln!(
        out,
        "rows         {} of two tokens, {} of one or none",
        table.num_pair_rows(),
        table.num_rows() - table.num_pair_rows()
    )?;
    writeln!(out, "successors   {}", table.num_successors())?;
    writeln!(
        out,
        "kept         {share:.1} % of what followed two tokens: {num_kept} of {num_counted} times"
    )?;
    Ok(table)
}

/// What the table expects after a text, likeliest first.
fn show(out: &mut impl Write, table: &StaticTable, tokens: &Tokens, text: &str) -> Result<()> {
    let (found, expected) = (tokens.tokenizer.fingerprint(), table.fingerprint());
    ensure!(
        found == expected,
        "--show: the tokenizer is {found:#018x}, the table is made for {expected:#018x}: see --tokenizer"
    );
    let (len, successors) = table.after(&tokens.tokenizer.encode(text, false)?);
    let after = match len {
        2 => "the last two tokens",
        1 => "the last token",
        _ => "none of these tokens",
    };
    writeln!(out, "after {after} of {text:?}:")?;
    for (token, chance) in successors {
        let word = tokens.tokenizer.decode(&[token], false)?;
        writeln!(out, "  {:5.1} %  {word:?}", 100.0 * chance)?;
    }
    Ok(())
}
