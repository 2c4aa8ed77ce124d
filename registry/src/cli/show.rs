//! Reports: a table for people, or one JSON document.

use std::io::Write;

use anyhow::Context;
use comfy_table::{Table, presets};
use serde_json::Value;

use super::{Failure, Output};

/// Columns and rows; `null` is an empty cell.
pub(super) struct Report {
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Value>>,
}

impl Report {
    /// Prints all rows, as an array of objects where it is JSON.
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        let text = match output {
            Output::Json => {
                let rows = self.rows.iter().map(|row| self.object(row)).collect();
                Value::Array(rows).to_string()
            }
            Output::Table => self.table(),
        };
        say(&text)
    }

    /// Prints the only row, as an object where it is JSON.
    pub(super) fn print_one(&self, output: Output) -> Result<(), Failure> {
        match (output, self.rows.first()) {
            (Output::Json, Some(row)) => say(&self.object(row).to_string()),
            _ => self.print(output),
        }
    }

    fn object(&self, row: &[Value]) -> Value {
        let pairs = self.columns.iter().zip(row);
        Value::Object(
            pairs
                .map(|(column, value)| ((*column).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(|value| match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }));
        }
        table.to_string()
    }
}

/// Prints a line.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("can't write to stdout")
        .map_err(Failure::Work)
}

/// A time, in ms since the epoch, as RFC 3339.
pub(super) fn time(ms: i64) -> Value {
    jiff::Timestamp::from_millisecond(ms).map_or(Value::Null, |time| time.to_string().into())
}
