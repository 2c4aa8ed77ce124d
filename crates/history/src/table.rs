//! A table in memory, built column by column, and its way into a Parquet file.

use polars::prelude::{
    Column, DataFrame, Int64Chunked, IntoColumn, IntoSeries, NamedFrom, NewChunkedArray,
    PlSmallStr, PolarsResult, Series, StringChunked, TimeUnit, TimeZone,
};

use crate::features::FeatureBatch;
use crate::options::Labels;

/// Columns of equal length with distinct names.
///
/// Both are checked when the table is written; until then columns are only collected.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds times, given in µs since the epoch, as Datetime(µs, UTC).
    pub fn time(self, name: &str, values: Vec<i64>) -> Self {
        let values = Int64Chunked::from_vec(PlSmallStr::from_str(name), values);
        let values = values.into_datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
        self.push(values.into_series())
    }

    /// Adds numbers.
    pub fn number(self, name: &str, values: Vec<f64>) -> Self {
        self.push(Series::new(PlSmallStr::from_str(name), values))
    }

    /// Adds numbers some of which may be missing.
    pub fn optional_number(self, name: &str, values: Vec<Option<f64>>) -> Self {
        self.push(Series::new(PlSmallStr::from_str(name), values))
    }

    /// Adds whole numbers.
    pub fn integer(self, name: &str, values: Vec<u64>) -> Self {
        self.push(Series::new(PlSmallStr::from_str(name), values))
    }

    /// Adds whole numbers some of which may be missing.
    pub fn optional_integer(self, name: &str, values: Vec<Option<u64>>) -> Self {
        self.push(Series::new(PlSmallStr::from_str(name), values))
    }

    /// Adds booleans.
    pub fn flag(self, name: &str, values: Vec<bool>) -> Self {
        self.push(Series::new(PlSmallStr::from_str(name), values))
    }

    /// Adds texts, `None` for missing ones.
    pub fn text<'a>(self, name: &str, values: impl Iterator<Item = Option<&'a str>>) -> Self {
        let values: Vec<Option<&str>> = values.collect();
        let values = StringChunked::from_slice_options(PlSmallStr::from_str(name), &values);
        self.push(values.into_series())
    }

    /// Adds labels, null for normal rows.
    pub fn labels(self, name: &str, labels: &Labels) -> Self {
        self.text(name, (0..labels.codes.len()).map(|idx| labels.get(idx)))
    }

    /// The table of a batch of features: `symbol` and `open_time` where the batch has them, the
    /// features under the names in `columns`, and `label` where there are labels.
    pub fn of_features(columns: &[String], batch: &FeatureBatch) -> Self {
        let mut table = Self::new();
        if let Some(codes) = &batch.symbol {
            let names = &batch.symbol_names;
            let symbol_of = |code: &u32| names.get(*code as usize).map(String::as_str);
            table = table.text("symbol", codes.iter().map(symbol_of));
        }
        if let Some(times) = &batch.time {
            table = table.time("open_time", times.clone());
        }
        for (idx, column) in columns.iter().enumerate() {
            let values = batch.values.iter().skip(idx).step_by(columns.len());
            table = table.number(column, values.copied().collect());
        }
        if let Some(codes) = &batch.label {
            let names = &batch.label_names;
            let label_of = |code: &u32| {
                let name = names.get(*code as usize);
                name.map(String::as_str).filter(|name| !name.is_empty())
            };
            table = table.text("label", codes.iter().map(label_of));
        }
        table
    }

    /// How many rows the first column has.
    pub fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    pub(crate) fn into_frame(self) -> PolarsResult<DataFrame> {
        DataFrame::new_infer_height(self.columns)
    }

    fn push(mut self, values: Series) -> Self {
        self.columns.push(values.into_column());
        self
    }
}
