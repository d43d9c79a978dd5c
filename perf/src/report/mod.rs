//! What many runs say together: medians and ranges, ratios between servers of the same round, on
//! a terminal, as JSON, and as one page with charts.
//!
//! Reading order: `runs` (what was written by `run`), `summary` (medians and ratios), `columns`
//! (which figures are shown of which kind), `best` (which other server counts), `text`, `chart`,
//! `charts` and `html`. Nothing here measures.

mod best;
mod chart;
mod charts;
mod columns;
mod html;
mod runs;
mod summary;
mod text;

use std::path::Path;

pub use runs::{LeftOut, Run};
pub use summary::{Cell, Row, Stats, Summary};

/// What a folder of runs holds.
#[derive(Clone, Debug)]
pub struct Report {
    /// Lines about the machine and the build: name and value.
    pub facts: Vec<(String, String)>,
    /// Servers that could not be had, and why.
    pub left_out: Vec<LeftOut>,
    /// The runs by scenario and server.
    pub summary: Summary,
}

impl Report {
    /// Reads a folder: `runs/*.json` as `run` writes them, `servers.tsv` and `machine.tsv`.
    pub fn load(folder: &Path) -> Result<Report, String> {
        let found = runs::load(folder)?;
        let summary = Summary::of(&found.runs, &found.servers);
        Ok(Report { facts: found.facts, left_out: found.left_out, summary })
    }

    /// A report of lines as `run` writes them.
    pub fn of_lines(lines: &str) -> Result<Report, String> {
        let runs = runs::parse(lines)?;
        Ok(Report { facts: Vec::new(), left_out: Vec::new(), summary: Summary::of(&runs, &[]) })
    }

    /// Tables for a terminal.
    pub fn to_text(&self) -> String {
        text::write(self)
    }

    /// Everything as JSON.
    pub fn to_json(&self) -> String {
        text::json(self)
    }

    /// One page that needs no other file.
    pub fn to_html(&self) -> String {
        html::write(self)
    }
}
