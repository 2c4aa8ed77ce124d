//! Results on stdout: a table for people, or exactly one JSON document.

use std::io::{ErrorKind, Write};

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

/// The options of how a command prints.
#[derive(Debug, Clone, clap::Args)]
pub struct OutputArgs {
    /// `table` for people; `json` prints exactly one JSON document on stdout.
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
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

/// Prints `result` as `output` says. A reader who has seen enough and closed the pipe is no error: the work is done.
///
/// # Errors
/// When stdout can't be written.
pub fn print(result: &impl Render, output: Output) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => result.render_table(),
        Output::Json => serde_json::to_string_pretty(&result.render_json()?)?,
    };
    write_to(&mut std::io::stdout().lock(), text.trim_end())?;
    Ok(())
}

fn write_to(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Refuses(ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_who_left_is_no_error_but_a_full_disk_is() {
        assert!(write_to(&mut Refuses(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(write_to(&mut Refuses(ErrorKind::StorageFull), "text").is_err());
        let mut out = Vec::new();
        write_to(&mut out, "text").unwrap();
        assert_eq!(out, b"text\n");
    }
}
