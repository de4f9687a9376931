//! `log.jsonl`: a line for every update and every validation.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use foretoken_draft::chimera::train::{Update, Validation};
use serde::{Deserialize, Serialize};

/// A line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Line {
    /// What one update did.
    Update {
        #[serde(flatten)]
        update: Update,
        tokens_per_second: f64,
    },
    /// What the drafter was worth after it.
    Validation {
        update: u64,
        tokens: u64,
        #[serde(flatten)]
        validation: Validation,
    },
}

impl Line {
    fn update(&self) -> u64 {
        match self {
            Self::Update { update, .. } => update.update,
            Self::Validation { update, .. } => *update,
        }
    }
}

/// The lines of a run, in memory and in its file.
pub(super) struct Journal {
    pub(super) lines: Vec<Line>,
    file: File,
}

impl Journal {
    /// Opens a run's log with what happened up to an update: a resumed run does the rest again.
    pub(super) fn open(path: &Path, last_update: u64) -> Result<Self> {
        let text = match last_update {
            0 => String::new(),
            _ => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        };
        let mut lines: Vec<Line> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        lines.retain(|line| line.update() <= last_update);
        let open = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path);
        let mut journal = Self {
            lines: Vec::new(),
            file: open.with_context(|| path.display().to_string())?,
        };
        for line in lines {
            journal.write(line)?;
        }
        Ok(journal)
    }

    pub(super) fn write(&mut self, line: Line) -> Result<()> {
        let mut json = serde_json::to_vec(&line)?;
        json.push(b'\n');
        self.file.write_all(&json)?;
        self.lines.push(line);
        Ok(())
    }
}
