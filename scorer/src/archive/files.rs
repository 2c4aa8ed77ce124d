//! Rows of a stretch of a partition as Parquet files.
//!
//! What is written is a function of the rows alone, and names tell where the stretch begins: writing it again puts the
//! same rows in the same places.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use history::{HistoryError, Storage, Table, write_table};
use market::Feature;

use super::row::{Row, Scored};

/// Which stretch rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) partition: i32,
    /// The offset of its first record.
    pub(super) start: i64,
}

/// Writes rows under `location`, those with a score to `scored`, the others to `unscored`; how many files.
pub(super) fn write(
    storage: &Storage,
    location: &str,
    stretch: Stretch,
    rows: &[Row],
) -> Result<u64, HistoryError> {
    let mut files: BTreeMap<(bool, &str, String), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let key = (row.scored().is_some(), row.symbol.as_str(), row.date());
        files.entry(key).or_default().push(row);
    }
    let mut n_files = 0;
    for ((is_scored, symbol, date), rows) in files {
        let kind = if is_scored { "scored" } else { "unscored" };
        let Stretch { partition, start } = stretch;
        let uri = format!(
            "{}/{kind}/symbol={}/date={date}/{partition:05}-{start:020}.parquet",
            location.trim_end_matches('/'),
            escaped(symbol)
        );
        write_table(storage, &uri, table(&rows, is_scored))?;
        n_files += 1;
    }
    Ok(n_files)
}

fn table(rows: &[&Row], is_scored: bool) -> Table {
    let mut table = Table::new()
        .text("symbol", rows.iter().map(|row| Some(row.symbol.as_str())))
        .time("open_time", rows.iter().map(|row| row.open_time).collect())
        .text("interval", rows.iter().map(|row| Some(&*row.interval)))
        .flag("filled", rows.iter().map(|row| row.filled).collect())
        .number("close", rows.iter().map(|row| row.close).collect())
        .number("volume", rows.iter().map(|row| row.volume).collect());
    for (place, feature) in Feature::ALL.into_iter().enumerate() {
        let values = rows.iter().map(|row| row.features[place]).collect();
        table = table.optional_number(feature.name(), values);
    }
    if is_scored {
        let scored: Vec<Scored> = rows.iter().filter_map(|row| row.scored()).collect();
        table = table
            .number("score", scored.iter().map(|s| s.score).collect())
            .number("raw_score", scored.iter().map(|s| s.raw_score).collect())
            .number("threshold", scored.iter().map(|s| s.threshold).collect())
            .flag("flagged", scored.iter().map(|s| s.flagged).collect());
    } else {
        table = table.text("error", rows.iter().map(|row| row.error.as_deref()));
    }
    table
        .text("engine", rows.iter().map(|row| row.engine.as_deref()))
        .text("model", rows.iter().map(|row| Some(&*row.model.name)))
        .text(
            "model_version",
            rows.iter().map(|row| Some(&*row.model.version)),
        )
        .text("run_id", rows.iter().map(|row| Some(&*row.model.run_id)))
        .text("label", rows.iter().map(|row| row.label.as_deref()))
}

/// A symbol as a part of a path: what is neither a letter nor a digit nor one of `._-` as `%XX`.
fn escaped(symbol: &str) -> String {
    let mut out = String::with_capacity(symbol.len());
    for byte in symbol.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            b'.' if !out.is_empty() => out.push('.'),
            // Writing to memory doesn't fail.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_symbol_leaves_its_folder() {
        for (symbol, expected) in [
            ("BTCUSDT", "BTCUSDT"),
            ("BRK.B", "BRK.B"),
            ("../x", "%2E.%2Fx"),
            ("BTC/USD", "BTC%2FUSD"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(escaped(symbol), expected);
        }
    }
}
