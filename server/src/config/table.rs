//! Options of `foretoken table`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::engine::{count, size};

/// Makes what drafters know of texts, or looks into it.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum TableCommand {
    /// Write what follows what in texts, for --trigram-table or --infini-corpus
    Build(TableBuildConfig),
    /// Say what a table holds
    Info(TableInfoConfig),
}

/// Names that `--kind` takes.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum TableKind {
    /// What followed two tokens, counted: for --trigram-table
    Trigram,
    /// The texts themselves with all their suffixes in order: for --infini-corpus
    SuffixArray,
}

/// Texts, how to read them, and what to keep of them.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = BUILD_HELP)]
pub struct TableBuildConfig {
    /// What to make of the texts
    #[arg(long, value_name = "NAME", default_value = "trigram")]
    pub kind: TableKind,

    /// The model's folder, or its tokenizer.json [default: the carried model's]
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,

    /// Texts: .jsonl, .parquet, and plain text; .jsonl.zst and .txt.zst too
    #[arg(long, value_name = "FILES", required = true, num_args = 1..)]
    pub input: Vec<PathBuf>,

    /// The table to write; OUTPUT.parts beside it holds what is not finished
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// Where a record's text stands [default: `text`, or a chat's turns]
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,

    /// A line that stands between the documents of a plain text [default: a file is one document]
    #[arg(long, value_name = "LINE")]
    pub document_separator: Option<String>,

    /// Characters that are read of a document that is no chat: a few books would outweigh many pages [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_chars: Option<u64>,

    /// What a trigram table keeps.
    #[command(flatten)]
    pub counting: CountingConfig,
}

/// What a trigram table keeps of what is counted, and the memory for counting. A suffix array has no use for it.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Trigram tables")]
pub struct CountingConfig {
    /// How often a successor of two tokens must have been seen [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub min_count: Option<u32>,

    /// How often a successor of one token must have been seen [default: that of two]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub min_other_count: Option<u32>,

    /// Successors of two tokens, at most [default: 12]
    #[arg(long, value_name = "N", value_parser = count(1))]
    pub max_successors: Option<usize>,

    /// Bytes of the table, at most: what was seen least often goes [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,

    /// Memory for counts; what goes beyond is sorted on the disk [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory_limit: Option<u64>,
}

const BUILD_HELP: &str = "\
A build that was cut off goes on where it was if it is started again with the same texts and
options. Build from texts like those that the model writes: its own answers, what it was trained
on, or what its users ask about. The table serves the models with exactly this tokenizer.

A suffix array takes 6 bytes a token (8 where the vocabulary has 65,536 tokens or more), and twice
that of memory while it is sorted.

A record of a .jsonl file is {\"text\"}, a chat as {\"messages\": [{\"role\", \"content\"}]} or
{\"conversations\": [{\"from\", \"value\"}]}, {\"turns\": [TEXT]}, {\"question\", \"answer\"}, or
{\"instruction\", \"input\", \"output\"}.";

/// A table, and what to say of it.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct TableInfoConfig {
    /// The table
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Read all of it and compare with what was written
    #[arg(long)]
    pub verify: bool,

    /// Print what the table expects after this text
    #[arg(long, value_name = "TEXT")]
    pub show: Option<String>,

    /// For --show: the model's folder, or its tokenizer.json [default: the carried model's]
    #[arg(long, value_name = "PATH", requires = "show")]
    pub tokenizer: Option<PathBuf>,
}

/// A size that holds some thousand tokens at least.
fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < LEAST_MEMORY => {
            Err(format!("{bytes} bytes, expected {LEAST_MEMORY} or more"))
        }
        bytes => Ok(bytes),
    }
}

/// Less would only make the disk busy.
const LEAST_MEMORY: u64 = 1 << 20;
