//! Printing rows: as a table for people, as JSON for programs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cli::Output;

/// A row of a table.
pub(crate) trait Row: Serialize {
    /// The columns' titles; those that begin with `#` hold numbers, which are put to the right.
    const TITLES: &'static [&'static str];
    /// What is in the columns.
    fn cells(&self) -> Vec<String>;
}

/// Prints rows; for people also what it means that there are none.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn print<R: Row>(rows: &[R], output: Output, none: &str) -> Result<()> {
    let text = match output {
        Output::Json => json(&rows)?,
        Output::Table if rows.is_empty() => none.to_owned(),
        Output::Table => table(rows),
    };
    line(&text)
}

/// Prints a line, or several.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn line(text: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("write to standard output"),
    }
}

/// A value as JSON.
///
/// # Errors
/// None that a value of this program can have.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).context("write JSON")
}

/// Rows as a table without borders, one line for each.
pub(crate) fn table<R: Row>(rows: &[R]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(R::TITLES.iter().map(|title| title.trim_start_matches('#')));
    for row in rows {
        table.add_row(row.cells());
    }
    for (index, title) in R::TITLES.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            let padding = if index == 0 { (0, 1) } else { (1, 1) };
            column.set_padding(padding);
            if title.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit {
        name: &'static str,
        count: u32,
    }

    impl Row for Fruit {
        const TITLES: &'static [&'static str] = &["FRUIT", "#COUNT", "NOTE"];

        fn cells(&self) -> Vec<String> {
            vec![self.name.into(), self.count.to_string(), "-".into()]
        }
    }

    #[test]
    fn columns_are_aligned_and_numbers_are_put_to_the_right() {
        let rows = [Fruit { name: "apple", count: 7 }, Fruit { name: "fig", count: 1_200 }];
        assert_eq!(table(&rows), "FRUIT  COUNT  NOTE\napple      7  -\nfig     1200  -");
    }

    #[test]
    fn rows_as_json_are_a_list_of_objects() {
        let text = json(&[Fruit { name: "fig", count: 1 }]).unwrap();
        assert_eq!(text, "[\n  {\n    \"name\": \"fig\",\n    \"count\": 1\n  }\n]");
    }
}
