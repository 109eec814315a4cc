//! What was measured: a table for people, JSON for programs.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::statistics::{interval_of_median, median};

/// All figures of a run.
#[derive(Serialize, Default)]
pub(crate) struct Report {
    /// Whether the run was a short one.
    pub(crate) quick: bool,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The processor's name.
    pub(crate) processor: String,
    figures: Vec<Figure>,
}

/// One figure.
#[derive(Serialize, Clone)]
pub(crate) struct Figure {
    /// What was measured.
    what: String,
    /// Under which conditions.
    case: String,
    value: f64,
    /// In which the value lies with a confidence of 95 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<(f64, f64)>,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
}

/// What a figure should be.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", number(limit, unit)),
            Self::AtLeast(limit) => format!("≥ {}", number(limit, unit)),
        }
    }
}

impl Figure {
    /// A value by itself.
    pub(crate) fn new(
        what: impl Into<String>,
        case: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self { what: what.into(), case: case.into(), value, interval: None, unit, goal: None }
    }

    /// The median of some values, with its interval.
    pub(crate) fn median(
        what: impl Into<String>,
        case: impl Into<String>,
        values: &[f64],
        unit: &'static str,
    ) -> Self {
        let interval = Some(interval_of_median(values));
        Self { interval, ..Self::new(what, case, median(values), unit) }
    }

    /// With a goal.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    fn verdict(&self) -> &'static str {
        let Some(goal) = self.goal else { return "" };
        let (low, high) = self.interval.unwrap_or((self.value, self.value));
        match (goal.is_met(self.value), goal.is_met(low) && goal.is_met(high)) {
            (true, true) => "met",
            (true, false) => "met, within noise",
            (false, _) if goal.is_met(low) || goal.is_met(high) => "missed, within noise",
            (false, _) => "missed",
        }
    }

    /// In a line, for those who wait for the table.
    pub(crate) fn line(&self) -> String {
        format!("  {}, {}: {}", self.what, self.case, number(self.value, self.unit))
    }

    fn row(&self) -> [String; 6] {
        let interval = match self.interval {
            Some((low, high)) => format!("{} to {}", number(low, self.unit), number(high, self.unit)),
            None => String::new(),
        };
        [
            self.what.clone(),
            self.case.clone(),
            number(self.value, self.unit),
            interval,
            self.goal.map(|goal| goal.text(self.unit)).unwrap_or_default(),
            self.verdict().to_owned(),
        ]
    }
}

impl Report {
    /// For this machine.
    pub(crate) fn new(quick: bool) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        Self {
            quick,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: processor.trim_start_matches([' ', '\t', ':']).to_owned(),
            figures: Vec::new(),
        }
    }

    /// Takes a group of figures in, and prints it under its heading.
    pub(crate) fn group(&mut self, heading: &str, figures: Vec<Figure>) {
        println!("\n{heading}");
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["figure", "case", "value", "95 % interval", "goal", "verdict"]);
        for figure in &figures {
            table.add_row(figure.row());
        }
        for column in 2..=4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
        self.figures.extend(figures);
    }

    /// Writes all figures.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        serde_json::to_writer_pretty(BufWriter::new(file), self).context("writing figures")
    }
}

/// A number with three digits that mean something, and its unit.
fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 4,
    };
    let separator = if unit.is_empty() { "" } else { " " };
    format!("{value:.digits$}{separator}{unit}")
}
