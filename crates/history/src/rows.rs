//! Rows of trades or candles, whatever the file they come from.

use crate::columns::{Role, TradeIds};
use crate::error::{HistoryError, Result, near_names};
use crate::location::{DataObject, FileFormat};
use crate::options::ReadOptions;
use crate::parquet_rows::ParquetRows;
use crate::source::with_text;
use crate::text::TextReader;

/// What is read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Trades,
    Candles,
}

impl Content {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Candles => "candles",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Trades => Self::Candles,
            Self::Candles => Self::Trades,
        }
    }

    /// Our own name for the column of a role.
    pub(crate) fn name_of(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::Trades, Role::Time) => "event_time",
            (_, role) => role.name(),
        }
    }

    /// Whether a file with these columns can be read as this.
    fn fits(self, columns: &[String]) -> bool {
        let has = |role: &Role| role.find(columns).is_some();
        self.required().iter().all(has)
            && (self == Self::Candles || has(&Role::Side) || has(&Role::IsBuyerMaker))
    }

    /// The refusal of a file that has a header without `column`.
    pub(crate) fn lacks(self, uri: &str, column: &str, columns: &[String]) -> HistoryError {
        if self.other().fits(columns) {
            let columns: Vec<String> = columns.iter().map(|name| format!("`{name}`")).collect();
            return self.is_other(uri, format!("its columns are {}", columns.join(", ")));
        }
        HistoryError::MissingColumn {
            uri: uri.to_owned(),
            column: column.to_owned(),
            hint: near_names(column, columns.iter().map(String::as_str)),
        }
    }

    /// The refusal of a file that holds the other content.
    pub(crate) fn is_other(self, uri: &str, evidence: String) -> HistoryError {
        HistoryError::OtherContent {
            uri: uri.to_owned(),
            wanted: self.as_str(),
            found: self.other().as_str(),
            evidence,
        }
    }

    pub(crate) fn required(self) -> &'static [Role] {
        match self {
            Self::Trades => &[Role::Time, Role::Price, Role::Quantity],
            Self::Candles => &[
                Role::Time,
                Role::Open,
                Role::High,
                Role::Low,
                Role::Close,
                Role::Volume,
            ],
        }
    }

    pub(crate) fn wanted(self) -> &'static [Role] {
        match self {
            Self::Trades => &[
                Role::Symbol,
                Role::Time,
                Role::TradeId,
                Role::Price,
                Role::Quantity,
                Role::Side,
                Role::IsBuyerMaker,
            ],
            Self::Candles => &[
                Role::Symbol,
                Role::Time,
                Role::Open,
                Role::High,
                Role::Low,
                Role::Close,
                Role::Volume,
                Role::QuoteVolume,
                Role::BuyVolume,
                Role::TradeCount,
            ],
        }
    }
}

/// A cursor over the rows of one file. Every refusal names the file and the row.
pub(crate) trait Rows {
    /// Moves to the next row; `false` at the end.
    fn advance(&mut self) -> Result<bool>;

    /// The name to report errors under.
    fn uri(&self) -> &str;

    /// The current row: the 1-based line of a text file, the 1-based row of a Parquet file.
    fn row(&self) -> u64;

    fn has(&self, role: Role) -> bool;

    fn has_label(&self) -> bool;

    fn trade_ids(&self) -> TradeIds;

    /// Microseconds since the epoch.
    fn time(&self) -> Result<i64>;

    /// A finite number.
    fn number(&self, role: Role) -> Result<f64>;

    /// A finite number; `None` where the column is missing or the field empty.
    fn optional_number(&self, role: Role) -> Result<Option<f64>>;

    /// A whole number; `None` where the column is missing or the field empty.
    fn optional_integer(&self, role: Role) -> Result<Option<u64>>;

    /// A text; never empty.
    fn text(&self, role: Role) -> Result<&str>;

    /// The row's label, as [`label_name`] has it.
    fn label(&self) -> Result<Option<&str>>;

    fn refuse(&self, reason: String) -> HistoryError {
        HistoryError::row(self.uri(), self.row(), reason)
    }
}

/// The name of a label of a file: `None` for what says "normal" (see
/// [`Labels`](crate::Labels)), [`ANOMALY`] for what only says "not normal".
pub(crate) fn label_name(label: &str) -> Option<&str> {
    const NORMAL: [&str; 8] = ["", "0", "0.0", "false", "normal", "benign", "none", "ok"];
    const NAMELESS: [&str; 3] = ["1", "1.0", "true"];
    let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(label));
    if is_one_of(&NORMAL) {
        None
    } else if is_one_of(&NAMELESS) {
        Some(ANOMALY)
    } else {
        Some(label)
    }
}

/// The name of a label that is but a 1.
pub(crate) const ANOMALY: &str = "anomaly";

/// Opens the file and hands its rows to `read`; once per member for a zip archive, not at all for
/// an empty file.
pub(crate) fn with_rows(
    object: &DataObject,
    content: Content,
    options: &ReadOptions,
    mut read: impl FnMut(&mut dyn Rows) -> Result<()>,
) -> Result<()> {
    if object.format() == FileFormat::Parquet {
        return read(&mut ParquetRows::open(object, content, options)?);
    }
    let mut is_empty = true;
    with_text(object, |name, source| {
        if let Some(mut rows) = TextReader::open(name, source, content, options)? {
            is_empty = false;
            read(&mut rows)?;
        }
        Ok(())
    })?;
    if is_empty {
        return Err(HistoryError::format(&object.uri, "the file is empty"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_normal_are_no_labels() {
        for normal in [
            "", "0", "0.0", "False", "normal", "Normal", "BENIGN", "none", "OK",
        ] {
            assert_eq!(label_name(normal), None, "{normal}");
        }
        for nameless in ["1", "1.0", "TRUE", "true"] {
            assert_eq!(label_name(nameless), Some(ANOMALY), "{nameless}");
        }
        for name in ["fraud", "abnormal", "-1", "pump"] {
            assert_eq!(label_name(name), Some(name));
        }
    }
}
