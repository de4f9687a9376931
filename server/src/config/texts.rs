//! Options of every command that reads texts.

use clap::Args;

/// How texts lie in their files.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct TextOptions {
    /// Where a record's text stands [default: `text`, or a chat's turns]
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,

    /// A line that stands between the documents of a plain text [default: a file is one document]
    #[arg(long, value_name = "LINE")]
    pub document_separator: Option<String>,

    /// Characters that are read of a document that is no chat: a few books would outweigh many pages [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_chars: Option<u64>,
}
