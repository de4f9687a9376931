//! Lines, and the documents of a plain text.

use std::io::{BufRead, Read};

use anyhow::{Context, Result, ensure};

use super::input::{Content, Raw};

/// Bytes of a line, at most, so that a file of another kind does not fill the memory.
const MAX_LINE: usize = 64 << 20;

/// Bytes after which a document of a plain text is cut in two at a line's end.
const MAX_PIECE: usize = 8 << 20;

/// Numbered lines of a text, with their ends.
pub(super) struct Lines {
    text: Box<dyn BufRead>,
    number: u64,
}

impl Lines {
    pub(super) fn new(text: Box<dyn BufRead>) -> Self {
        Self { text, number: 0 }
    }

    fn read(&mut self) -> Result<Option<(u64, String)>> {
        self.number += 1;
        let place = || format!("line {}", self.number);
        let mut line = Vec::new();
        let mut limited = (&mut self.text).take(MAX_LINE as u64 + 1);
        if limited.read_until(b'\n', &mut line).with_context(place)? == 0 {
            return Ok(None);
        }
        ensure!(
            line.len() <= MAX_LINE,
            "line {} is longer than {MAX_LINE} bytes",
            self.number
        );
        let line = String::from_utf8(line).with_context(place)?;
        Ok(Some((self.number, line)))
    }
}

impl Iterator for Lines {
    type Item = Result<(u64, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The documents of a plain text: what stands between lines that are the separator, blanks around it left out.
pub(super) struct PlainDocuments {
    lines: Lines,
    separator: Option<String>,
    /// Bytes that are held of a document.
    most: usize,
    /// What goes beyond is skipped, else it is a document of its own.
    is_cut: bool,
}

impl PlainDocuments {
    /// Where only the first characters are wanted the rest is skipped; else a very long document comes in pieces.
    pub(super) fn new(lines: Lines, separator: Option<String>, max_chars: Option<usize>) -> Self {
        Self {
            lines,
            separator,
            // A character has four bytes at most.
            most: max_chars.map_or(MAX_PIECE, |most| most.saturating_mul(4)),
            is_cut: max_chars.is_some(),
        }
    }

    /// The next document, which may be blank; none at the end of the text.
    fn read(&mut self) -> Result<Option<Raw>> {
        let place = format!("line {}", self.lines.number + 1);
        let mut text = String::new();
        let mut is_end = true;
        for line in &mut self.lines {
            is_end = false;
            let (_, line) = line?;
            if self.separator.as_deref() == Some(line.trim()) {
                break;
            }
            match text.is_empty() {
                true => text += line.trim_start(),
                false if text.len() < self.most => text += &line,
                false => {}
            }
            if !self.is_cut && text.len() >= self.most {
                break;
            }
        }
        let content = Content::Text(text.trim_end().to_owned());
        Ok((!is_end).then_some(Raw { content, place }))
    }
}

impl Iterator for PlainDocuments {
    type Item = Result<Raw>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_blank = |raw: &Result<Raw>| matches!(raw, Ok(raw) if raw.content.len() == 0);
        std::iter::from_fn(|| self.read().transpose()).find(|raw| !is_blank(raw))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn documents(text: &str, separator: Option<&str>, max_chars: Option<usize>) -> Vec<String> {
        let lines = Lines::new(Box::new(Cursor::new(text.to_owned())));
        let documents = PlainDocuments::new(lines, separator.map(str::to_owned), max_chars);
        let texts = documents.map(|raw| match raw.unwrap().content {
            Content::Text(text) | Content::Json(text) => text,
        });
        texts.collect()
    }

    #[test]
    fn documents_stand_between_separators() {
        let text = "\n--\n a\n\n b \n--\n--\r\nc--\n--\n \n";
        assert_eq!(documents(text, Some("--"), None), ["a\n\n b", "c--"]);
        assert_eq!(documents(text, Some(""), None).len(), 2);
        assert_eq!(documents(text, None, None).len(), 1);
        assert!(documents("", None, None).is_empty());
    }

    #[test]
    fn a_long_document_is_cut_or_comes_in_pieces() {
        let text = "some words in a line\n".repeat(1 << 20) + "--\nx";
        let pieces = documents(&text, Some("--"), None);
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces.join("\n") + "\n", text.replace("--\n", "") + "\n");
        let cut = documents(&text, Some("--"), Some(100));
        assert!(cut.len() == 2 && (400..500).contains(&cut[0].len()));
        assert!(text.starts_with(&cut[0]) && cut[1] == "x");
    }
}
