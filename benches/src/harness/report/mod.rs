//! What was measured, as JSON for programs and as one page for people.

mod acceptance;
mod chart;
mod comparisons;
mod loads;
mod page;
mod policies;
mod replays;
mod soaks;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::ab::Comparison;
use super::load::LoadResult;
use super::policy::PolicyResult;
use super::replay::ReplayResult;
use super::soak::SoakResult;
use page::section;
use table::{escape, table};

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Which commands measured it.
    pub origins: Vec<Origin>,
    /// By `load`.
    #[serde(default)]
    pub loads: Vec<LoadResult>,
    /// By `ab`.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// By `replay`.
    #[serde(default)]
    pub replays: Vec<ReplayResult>,
    /// By `policy`.
    #[serde(default)]
    pub policies: Vec<PolicyResult>,
    /// By `soak`.
    #[serde(default)]
    pub soaks: Vec<SoakResult>,
}

/// Where figures come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The command line.
    pub command: String,
    /// The processor of the load generator's machine.
    pub machine: String,
    /// When it was done.
    pub finished: String,
}

impl Origin {
    /// This process, now.
    pub fn here() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            command: format!("foretoken-bench {}", arguments.join(" ")),
            machine: machine(),
            finished: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

fn machine() -> String {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &str| {
        Some(
            line.strip_prefix("model name")?
                .split_once(':')?
                .1
                .trim()
                .to_owned(),
        )
    };
    let name = info.lines().find_map(named);
    format!(
        "{}, {threads} hardware threads",
        name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
    )
}

impl Report {
    /// Reads reports and puts them together.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut whole = Self::default();
        for path in files {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let part: Self = serde_json::from_str(&text)
                .with_context(|| format!("{} is no report", path.display()))?;
            whole.origins.extend(part.origins);
            whole.loads.extend(part.loads);
            whole.comparisons.extend(part.comparisons);
            whole.replays.extend(part.replays);
            whole.policies.extend(part.policies);
            whole.soaks.extend(part.soaks);
        }
        Ok(whole)
    }

    /// Writes `report.json` and `report.html` into `folder`, which is made if need be.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        write("report.json", serde_json::to_string_pretty(self)? + "\n")?;
        write("report.html", self.html()?)
    }

    /// The page: HTML that needs nothing else.
    pub fn html(&self) -> Result<String> {
        let sections = [
            comparisons::comparisons(&self.comparisons)?,
            loads::loads(&self.loads)?,
            replays::replays(&self.replays)?,
            policies::policies(&self.policies)?,
            soaks::soaks(&self.soaks)?,
            self.origins(),
        ];
        Ok(page::page("foretoken-bench", &sections.concat()))
    }

    /// The result in a few lines, for the terminal.
    pub fn text(&self) -> String {
        let parts = [
            self.loads.iter().map(text::load).collect::<Vec<_>>(),
            self.comparisons
                .iter()
                .map(|comparison| comparison.line() + "\n")
                .collect(),
            self.replays.iter().map(ReplayResult::line).collect(),
            self.policies.iter().map(PolicyResult::line).collect(),
            self.soaks.iter().map(text::soak).collect(),
        ];
        parts.concat().concat()
    }

    fn origins(&self) -> String {
        let rows = self.origins.iter().map(|origin| {
            let command = format!("<code>{}</code>", escape(&origin.command));
            vec![command, escape(&origin.machine), escape(&origin.finished)]
        });
        let body = table(&["command", "machine", "finished"], rows);
        let note = "Reports are put together and drawn again by `foretoken-bench report`.";
        section("Where this comes from", note, &body)
    }
}
