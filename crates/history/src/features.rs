//! Scanning tables of features: the numeric columns of Parquet or CSV files, in bounded memory.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::error::{HistoryError, Result, near_names};
use crate::features_csv::CsvTable;
use crate::features_parquet::ParquetTable;
use crate::location::{DataObject, FileFormat};
use crate::symbol::file_symbol;

/// What pandas calls the unnamed index of a frame in Parquet: row numbers, or what rows a filter
/// left. It is a feature only where it is asked for by name.
pub const INDEX_COLUMN: &str = "__index_level_0__";

/// Which columns and rows of a feature table to read.
#[derive(Clone, Debug, Default)]
pub struct FeatureOptions {
    /// The feature columns, in this order; `None` for every numeric column that is neither the
    /// label nor the time nor [`INDEX_COLUMN`], in the order of the first file.
    pub columns: Option<Vec<String>>,
    /// The label column: 0 and 1, booleans, or text; which text is normal, [`Labels`](crate::Labels)
    /// says.
    pub label: Option<String>,
    /// The time column: a datetime, or a whole number of seconds, milliseconds, ….
    pub time: Option<String>,
    /// The symbol column. Without one, a file may still name its symbol by a `symbol=…/` folder.
    pub symbol: Option<String>,
    /// Only these symbols; empty for all. Needs a symbol.
    pub symbols: Vec<String>,
    /// Only rows at or after this time (µs since the epoch). Needs the time column.
    pub from: Option<i64>,
    /// Only rows before this time (µs since the epoch). Needs the time column.
    pub to: Option<i64>,
    /// Rows in which one of the feature columns is empty (null) are left out, in place of being refused. Needs
    /// columns that are named.
    pub complete: bool,
}

/// A table of features that is ready to be read, any number of times.
///
/// Opening it reads schemas only. Every pass gives the same rows in the same order (files as
/// listed, rows as they stand) with the same codes.
#[derive(Debug)]
pub struct FeatureScan {
    tables: Vec<Table>,
    options: FeatureOptions,
    columns: Vec<String>,
    left_out: Vec<String>,
    objects: Vec<DataObject>,
}

#[derive(Debug)]
enum Table {
    Parquet(ParquetTable),
    Csv(CsvTable),
}

/// Consecutive rows of a feature table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureBatch {
    /// The index of the first row among all rows of the scan.
    pub first_row: u64,
    /// How many rows there are.
    pub n_rows: usize,
    /// Event time in µs since the epoch, where a time column was asked for.
    pub time: Option<Vec<i64>>,
    /// Codes into [`symbol_names`](Self::symbol_names), where there are symbols.
    pub symbol: Option<Vec<u32>>,
    /// The symbols seen so far in this pass, in order of appearance.
    pub symbol_names: Arc<Vec<String>>,
    /// Codes into [`label_names`](Self::label_names), where a label column was asked for; 0 is
    /// normal.
    pub label: Option<Vec<u32>>,
    /// The labels seen so far in this pass, in order of appearance after the empty one. A label
    /// of 1 or `true` is `anomaly`.
    pub label_names: Arc<Vec<String>>,
    /// The features, row-major `(n_rows, n_features)`; all finite.
    pub values: Vec<f64>,
}

impl FeatureScan {
    /// Looks at the schema of every file and checks that it has what `options` ask for.
    ///
    /// # Errors
    ///
    /// A missing column (with near names), a column of a type that does not serve, no numeric
    /// column at all, a time range or symbols without a column to tell them by.
    pub fn open(objects: &[DataObject], options: &FeatureOptions) -> Result<Self> {
        let mut options = options.clone();
        let mut tables = Vec::with_capacity(objects.len());
        let mut left_out = Vec::new();
        for object in objects {
            check_answerable(object, &options)?;
            let table = match object.format() {
                FileFormat::Parquet => Table::Parquet(ParquetTable::open(object, &options)?),
                FileFormat::Csv | FileFormat::CsvGz | FileFormat::CsvZip => {
                    Table::Csv(CsvTable::open(object, &options)?)
                }
            };
            // The first file decides which columns "all" are.
            let (columns, others) = match &table {
                Table::Parquet(table) => (table.columns(), table.left_out()),
                Table::Csv(table) => (table.columns(), table.left_out()),
            };
            if columns.is_empty() && options.columns.is_none() {
                return Err(HistoryError::format(
                    &object.uri,
                    "it has no numeric column",
                ));
            }
            if options.columns.is_none() {
                options.columns = Some(columns.to_vec());
                left_out = others.to_vec();
            }
            tables.push(table);
        }
        Ok(Self {
            tables,
            left_out,
            columns: options.columns.clone().unwrap_or_default(),
            options,
            objects: objects.to_vec(),
        })
    }

    /// The feature columns, in the order of [`FeatureBatch::values`].
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The columns of the first file that are no features because they aren't numeric, and
    /// [`INDEX_COLUMN`]; empty where the features were asked for by name.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// How many features a row has.
    pub fn n_features(&self) -> usize {
        self.columns.len()
    }

    /// Counts the rows; from the metadata of Parquet files where no filter is set, else by
    /// reading the columns of the filter (CSV: the whole file).
    pub fn n_rows(&self) -> Result<u64> {
        let mut n_rows = 0;
        for (table, object) in self.tables.iter().zip(&self.objects) {
            n_rows += match table {
                Table::Parquet(table) => table.n_rows(object, &self.options)?,
                Table::Csv(table) => table.n_rows(object, &self.options)?,
            };
        }
        Ok(n_rows)
    }

    /// Reads every column and hands over the rows, batch by batch; an error of `visit` ends the
    /// pass and is returned.
    ///
    /// At most a few batches are in memory. Polars reads and decodes ahead in its own threads
    /// while `visit` works in the caller's.
    ///
    /// # Errors
    ///
    /// Null, NaN or an infinity in a feature, a time or symbol that is null, a label that is
    /// neither 0 nor 1: each with file, row and column.
    pub fn for_each_batch<E: From<HistoryError>>(
        &self,
        visit: impl FnMut(FeatureBatch) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.pass(Wanted::all(&self.columns), visit)
    }

    /// As [`for_each_batch`](Self::for_each_batch), without any feature: only time, symbol and
    /// label are read, [`FeatureBatch::values`] is empty.
    pub fn for_each_index_batch<E: From<HistoryError>>(
        &self,
        visit: impl FnMut(FeatureBatch) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.pass(Wanted::all(&[]), visit)
    }

    /// As [`for_each_batch`](Self::for_each_batch), of the `rows` (counted as
    /// [`FeatureBatch::first_row`] is) and of the features only: time, symbol and label are `None`,
    /// and neither read nor checked.
    ///
    /// Files of Parquet without rows in the range, and the other row groups of those with some,
    /// are skipped unless a filter of rows is set.
    pub fn for_each_batch_of_rows<E: From<HistoryError>>(
        &self,
        rows: Range<u64>,
        visit: impl FnMut(FeatureBatch) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let wanted = Wanted {
            columns: &self.columns,
            index: false,
            rows,
        };
        self.pass(wanted, visit)
    }

    /// As [`for_each_batch`](Self::for_each_batch), with some of the features only.
    ///
    /// # Errors
    ///
    /// Also a column that is none of [`columns`](Self::columns).
    pub fn for_each_batch_of<E: From<HistoryError>>(
        &self,
        columns: &[String],
        visit: impl FnMut(FeatureBatch) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if let Some(column) = columns.iter().find(|column| !self.columns.contains(column)) {
            return Err(HistoryError::MissingColumn {
                uri: self
                    .objects
                    .first()
                    .map(|object| object.uri.clone())
                    .unwrap_or_default(),
                column: column.clone(),
                hint: near_names(column, self.columns.iter().map(String::as_str)),
            }
            .into());
        }
        self.pass(Wanted::all(columns), visit)
    }

    fn pass<E: From<HistoryError>>(
        &self,
        wanted: Wanted<'_>,
        mut visit: impl FnMut(FeatureBatch) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut pass = Pass::default();
        let mut refused = Ok(());
        for (table, object) in self.tables.iter().zip(&self.objects) {
            if pass.next_row >= wanted.rows.end {
                break;
            }
            let mut on_batch = |batch: FeatureBatch| {
                let is_last = batch.first_row + batch.n_rows as u64 >= wanted.rows.end;
                refused = batch
                    .within(&wanted.rows, wanted.columns.len())
                    .map_or(Ok(()), &mut visit);
                if is_last || refused.is_err() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            match table {
                Table::Parquet(table) => {
                    table.read(object, &self.options, &wanted, &mut pass, &mut on_batch)?;
                }
                Table::Csv(table) => {
                    table.read(object, &self.options, &wanted, &mut pass, &mut on_batch)?;
                }
            }
            if refused.is_err() {
                break;
            }
        }
        refused
    }
}

/// What a pass reads.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// The features.
    pub(crate) columns: &'a [String],
    /// Whether time, symbol and label are wanted.
    pub(crate) index: bool,
    /// The rows, among all of the scan.
    pub(crate) rows: Range<u64>,
}

impl<'a> Wanted<'a> {
    /// All rows, with time, symbol and label.
    pub(crate) fn all(columns: &'a [String]) -> Self {
        Self {
            columns,
            index: true,
            rows: 0..u64::MAX,
        }
    }
}

impl FeatureBatch {
    /// The part of it in `rows`; `None` if there is none.
    fn within(mut self, rows: &Range<u64>, n_features: usize) -> Option<Self> {
        let end = self.first_row + self.n_rows as u64;
        if rows.start <= self.first_row && rows.end >= end {
            return Some(self);
        }
        let from = rows.start.clamp(self.first_row, end);
        let to = rows.end.clamp(from, end);
        // Both are at most `n_rows`.
        let range = (from - self.first_row) as usize..(to - self.first_row) as usize;
        if range.is_empty() {
            return None;
        }
        fn cut<T>(values: &mut Vec<T>, range: Range<usize>) {
            values.truncate(range.end);
            values.drain(..range.start);
        }
        cut(
            &mut self.values,
            range.start * n_features..range.end * n_features,
        );
        if let Some(time) = &mut self.time {
            cut(time, range.clone());
        }
        for codes in [&mut self.symbol, &mut self.label].into_iter().flatten() {
            cut(codes, range.clone());
        }
        self.first_row = from;
        self.n_rows = range.len();
        Some(self)
    }
}

/// What a pass carries from batch to batch and from file to file.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) next_row: u64,
    pub(crate) symbols: Dictionary,
    pub(crate) labels: Dictionary,
}

impl Default for Pass {
    fn default() -> Self {
        let mut labels = Dictionary::default();
        labels.code_of("");
        Self {
            next_row: 0,
            symbols: Dictionary::default(),
            labels,
        }
    }
}

/// Names by code, in order of appearance.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    names: Arc<Vec<String>>,
    codes: HashMap<String, u32>,
    last: u32,
    /// The code that came after each code the last time.
    next: Vec<u32>,
}

impl Dictionary {
    pub(crate) fn code_of(&mut self, name: &str) -> u32 {
        // Rows of one symbol usually come together, or the symbols come in turns.
        let last = self.last as usize;
        let next = self.next.get(last).copied().unwrap_or(0);
        for code in [self.last, next] {
            if self.names.get(code as usize).is_some_and(|it| it == name) {
                self.last = code;
                return code;
            }
        }
        let code = match self.codes.get(name) {
            Some(code) => *code,
            None => {
                let code = self.names.len() as u32;
                Arc::make_mut(&mut self.names).push(name.to_owned());
                self.codes.insert(name.to_owned(), code);
                self.next.push(code);
                code
            }
        };
        if let Some(next) = self.next.get_mut(last) {
            *next = code;
        }
        self.last = code;
        code
    }

    pub(crate) fn names(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.names)
    }
}

/// Whether the column was asked for as something else than a feature.
pub(crate) fn is_other(name: &str, options: &FeatureOptions) -> bool {
    [&options.label, &options.time, &options.symbol]
        .into_iter()
        .flatten()
        .any(|other| other == name)
}

/// Whether the file's own symbol, if it is the file that has one, is wanted.
pub(crate) fn wants_file(object: &DataObject, options: &FeatureOptions) -> bool {
    options.symbol.is_some()
        || options.symbols.is_empty()
        || file_symbol(object).is_some_and(|symbol| options.symbols.iter().any(|s| s == symbol))
}

fn check_answerable(object: &DataObject, options: &FeatureOptions) -> Result<()> {
    if options.time.is_none() && (options.from.is_some() || options.to.is_some()) {
        return Err(HistoryError::format(
            &object.uri,
            "a time range was given, but no time column",
        ));
    }
    if !options.symbols.is_empty() && options.symbol.is_none() && file_symbol(object).is_none() {
        return Err(HistoryError::format(
            &object.uri,
            "symbols were given, but there is neither a symbol column nor a `symbol=…` folder",
        ));
    }
    Ok(())
}
