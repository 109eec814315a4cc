//! What the demo looks like: coloured tables on a terminal, plain text elsewhere.

use std::io::IsTerminal;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use owo_colors::OwoColorize;

/// Standard output, and what has failed until now.
pub(crate) struct Terminal {
    colour: bool,
    failures: u32,
}

impl Terminal {
    /// Colours where standard output is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
    pub(crate) fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !refused, failures: 0 }
    }

    /// Begins an act.
    pub(crate) fn heading(&self, text: &str) {
        if self.colour {
            println!("\n{}", text.bold().cyan());
        } else {
            println!("\n== {text}");
        }
    }

    /// One line about what happens.
    pub(crate) fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// A statement that was checked.
    pub(crate) fn check(&mut self, holds: bool, text: &str) {
        let mark = match (holds, self.colour) {
            (true, true) => "✔".green().to_string(),
            (false, true) => "✘".red().bold().to_string(),
            (true, false) => "ok:".to_owned(),
            (false, false) => "FAILED:".to_owned(),
        };
        println!("  {mark} {text}");
        self.failures += u32::from(!holds);
    }

    /// A table under these headings.
    pub(crate) fn table(&self, headings: &[&str], rows: Vec<Vec<Cell>>) {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Disabled);
        if self.colour {
            table.load_preset(presets::UTF8_FULL_CONDENSED).enforce_styling();
        } else {
            table.load_preset(presets::ASCII_BORDERS_ONLY_CONDENSED).force_no_tty();
        }
        table.set_header(headings).add_rows(rows);
        for line in table.lines() {
            println!("  {line}");
        }
    }

    /// The closing line; whether nothing has failed.
    pub(crate) fn verdict(&self) -> bool {
        let text = match self.failures {
            0 => "All went well.".to_owned(),
            1 => "One thing has failed.".to_owned(),
            failures => format!("{failures} things have failed."),
        };
        self.heading(&text);
        self.failures == 0
    }
}

/// A number that ought to be zero.
pub(crate) fn failures(count: usize) -> Cell {
    Cell::new(count).fg(if count == 0 { Color::Green } else { Color::Red })
}

/// The name of a thing.
pub(crate) fn name(text: impl ToString) -> Cell {
    Cell::new(text).fg(Color::Cyan)
}

/// A plain value.
pub(crate) fn value(text: impl ToString) -> Cell {
    Cell::new(text)
}
