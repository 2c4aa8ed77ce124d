//! Every scored row as Parquet, so that anyone can judge the figures with tools of their own.

use history::{Storage, Table, TableWriter};

use super::Outcome;
use super::judge::{self, PartScores};
use super::rows::RowIndex;
use super::split::Part;
use crate::interrupt::Interrupt;

/// Rows per piece that is handed to the writer.
const PIECE_ROWS: usize = 1 << 20;

/// Writes the rows of every part to `target`, a path or an `s3://` URI: `time` (µs, UTC; absent
/// without time), `symbol` (absent without symbols), `score` (as the detector gives it),
/// `neg_log10_tail`, `tail_probability`, `flag`, `label` (the kind of anomaly, null for none),
/// `event` (its number, null for none), `split`.
///
/// # Errors
/// When rows can't be scored or the file can't be written.
pub fn write(outcome: &Outcome, target: &str, interrupt: &Interrupt) -> anyhow::Result<usize> {
    let index = &outcome.prepared.index;
    let winner = &outcome.validated[outcome.winner];
    let (_, validation, test) = judge::parts(&outcome.prepared);
    let mut all: Vec<Option<(f64, f64, bool)>> = vec![None; index.len()];
    let mut take = |scores: &PartScores| {
        for (position, &row) in scores.rows.iter().enumerate() {
            all[row as usize] = Some((
                scores.raw[position],
                scores.tail[position],
                scores.flag[position],
            ));
        }
    };
    take(&outcome.tested_winner().scores);
    if validation != test {
        take(&winner.validation_scores);
        for part in [Part::Train, Part::Purged] {
            for scores in judge::score_part(&outcome.prepared, part, &[winner], interrupt, |_| {})?
            {
                take(&scores);
            }
        }
    }
    let rows: Vec<usize> = (0..index.len()).filter(|&row| all[row].is_some()).collect();
    let scored: Vec<(f64, f64, bool)> = all.into_iter().flatten().collect();
    let storage = Storage::from_env();
    let mut writer = TableWriter::create(&storage, target)?;
    for (rows, scored) in rows.chunks(PIECE_ROWS).zip(scored.chunks(PIECE_ROWS)) {
        interrupt.check()?;
        writer.append(table(index, rows, scored))?;
    }
    writer.finish()?;
    Ok(rows.len())
}

fn table(index: &RowIndex, rows: &[usize], scored: &[(f64, f64, bool)]) -> Table {
    let mut table = Table::new();
    if let Some(times) = &index.time {
        table = table.time("time", rows.iter().map(|&row| times[row]).collect());
    }
    if index.symbols.iter().any(|symbol| !symbol.is_empty()) {
        table = table.text(
            "symbol",
            rows.iter()
                .map(|&row| Some(index.symbols[index.symbol[row] as usize].as_str())),
        );
    }
    let label = |row: usize| match &index.positive {
        Some(positive) => positive[row].then_some("anomaly"),
        None => (index.event[row] as usize)
            .checked_sub(1)
            .map(|event| index.events[event].kind.as_str()),
    };
    table = table
        .number("score", scored.iter().map(|row| row.0).collect())
        .number("neg_log10_tail", scored.iter().map(|row| row.1).collect())
        .number(
            "tail_probability",
            scored.iter().map(|row| 10_f64.powf(-row.1)).collect(),
        )
        .flag("flag", scored.iter().map(|row| row.2).collect())
        .text("label", rows.iter().map(|&row| label(row)));
    if index.positive.is_none() {
        let event = |row: usize| Some(u64::from(index.event[row])).filter(|&event| event > 0);
        table = table.optional_integer("event", rows.iter().map(|&row| event(row)).collect());
    }
    table.text(
        "split",
        rows.iter().map(|&row| Some(index.part[row].as_str())),
    )
}
