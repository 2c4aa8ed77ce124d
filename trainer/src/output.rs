//! Results on stdout: a table for people, or exactly one JSON document.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

/// How a command prints its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Tables for people.
    Table,
    /// One JSON document on stdout, everything else on stderr.
    Json,
}

/// What a command hands over to be printed.
pub trait Render: Serialize {
    /// The text that people read.
    fn render_table(&self) -> String;

    /// The JSON document that programs read.
    ///
    /// # Errors
    /// When it can't be serialized.
    fn render_json(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }
}

/// Prints `result` as `output` says.
///
/// # Errors
/// When stdout can't be written.
pub fn print(result: &impl Render, output: Output) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => result.render_table(),
        Output::Json => serde_json::to_string_pretty(&result.render_json()?)?,
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end())?;
    stdout.flush()?;
    Ok(())
}

/// A plain table: first column left, the others right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(
        header
            .iter()
            .enumerate()
            .map(|(index, text)| align(index, text)),
    );
    for row in rows {
        table.add_row(
            row.iter()
                .enumerate()
                .map(|(index, text)| align(index, text)),
        );
    }
    let text = table.to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

fn align(index: usize, text: &str) -> Cell {
    let alignment = if index == 0 {
        CellAlignment::Left
    } else {
        CellAlignment::Right
    };
    Cell::new(text).set_alignment(alignment)
}
