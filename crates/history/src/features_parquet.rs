//! Feature tables in Parquet: the hot path of training on large tables.

use std::ops::{ControlFlow, Range};
use std::sync::OnceLock;

use polars::prelude::{Column, DataFrame, DataType, Expr, LazyFrame, SchemaRef, col, len, lit};

use crate::error::{HistoryError, Result, near_names};
use crate::features::{
    FeatureBatch, FeatureOptions, INDEX_COLUMN, Pass, Wanted, is_other, wants_file,
};
use crate::location::DataObject;
use crate::parquet::{
    TimeColumn, batches, collect, first_integer, names_of, scan, scan_in_ranges, schema_of,
};
use crate::rows::{ANOMALY, label_name};
use crate::symbol::file_symbol;

/// A Parquet file whose schema was found good.
#[derive(Debug)]
pub(crate) struct ParquetTable {
    columns: Vec<String>,
    left_out: Vec<String>,
    time: Option<TimeColumn>,
    label_is_text: bool,
    /// Rows of the file, once they were counted.
    n_rows: OnceLock<u64>,
}

/// Rows whose columns are turned into rows at a time: 64 rows of 12 columns stay in the first
/// cache level.
const BLOCK_ROWS: usize = 64;

impl ParquetTable {
    pub(crate) fn open(object: &DataObject, options: &FeatureOptions) -> Result<Self> {
        let mut frame = scan(object)?;
        let schema = schema_of(&mut frame, object)?;
        let (columns, left_out) = match &options.columns {
            Some(columns) => (columns.clone(), Vec::new()),
            None => {
                let names = names_of(&schema).into_iter();
                names
                    .filter(|name| !is_other(name, options))
                    .partition(|name| {
                        name != INDEX_COLUMN && schema.get(name).is_some_and(is_numeric)
                    })
            }
        };
        for column in &columns {
            let dtype = dtype_of(object, &schema, column)?;
            if !is_numeric(dtype) {
                return Err(wrong_type(object, column, dtype, "a number or a boolean"));
            }
        }
        let time = match &options.time {
            Some(name) => {
                let dtype = dtype_of(object, &schema, name)?;
                Some(TimeColumn::new(object, &frame, name, dtype)?)
            }
            None => None,
        };
        let label_is_text = match &options.label {
            Some(name) => {
                let dtype = dtype_of(object, &schema, name)?;
                if !is_numeric(dtype) && !is_text(dtype) {
                    return Err(wrong_type(
                        object,
                        name,
                        dtype,
                        "0 and 1, a boolean or text",
                    ));
                }
                is_text(dtype)
            }
            None => false,
        };
        if let Some(name) = &options.symbol {
            let dtype = dtype_of(object, &schema, name)?;
            if !is_text(dtype) && !dtype.is_integer() {
                return Err(wrong_type(object, name, dtype, "text"));
            }
        }
        Ok(Self {
            columns,
            left_out,
            time,
            label_is_text,
            n_rows: OnceLock::new(),
        })
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    pub(crate) fn n_rows(&self, object: &DataObject, options: &FeatureOptions) -> Result<u64> {
        if !wants_file(object, options) {
            return Ok(0);
        }
        if let Some(n_rows) = self.n_rows.get() {
            return Ok(*n_rows);
        }
        let mut frame = scan(object)?;
        if let Some(predicate) = self.predicate(options) {
            frame = frame.filter(predicate);
        }
        let counted = collect(frame.select([len()]), object)?;
        let n_rows = first_integer(&counted).unwrap_or(0).unsigned_abs();
        Ok(*self.n_rows.get_or_init(|| n_rows))
    }

    /// The rows of this file that are among `wanted`, which counts from the scan's first; `None`
    /// for all of them.
    fn rows_of_file(
        &self,
        object: &DataObject,
        options: &FeatureOptions,
        wanted: &Range<u64>,
        first_row: u64,
    ) -> Result<Option<Range<u64>>> {
        if wanted.start <= first_row && wanted.end == u64::MAX {
            return Ok(None);
        }
        let n_rows = self.n_rows(object, options)?;
        let within = |row: u64| row.saturating_sub(first_row).min(n_rows);
        Ok(Some(within(wanted.start)..within(wanted.end)))
    }

    /// Hands the batches to `visit` until it breaks off; the caller cuts them to the wanted rows.
    pub(crate) fn read(
        &self,
        object: &DataObject,
        options: &FeatureOptions,
        wanted: &Wanted<'_>,
        pass: &mut Pass,
        visit: &mut impl FnMut(FeatureBatch) -> ControlFlow<()>,
    ) -> Result<()> {
        if !wants_file(object, options) {
            return Ok(());
        }
        let mut frame = scan_in_ranges(object)?;
        let end = match self.predicate(options) {
            // Which rows of the file these are, only the filter knows.
            Some(predicate) => {
                frame = frame.filter(predicate);
                None
            }
            None => {
                let first_row = pass.next_row;
                match self.rows_of_file(object, options, &wanted.rows, first_row)? {
                    Some(rows) => {
                        let end = first_row + self.n_rows(object, options)?;
                        if rows.is_empty() {
                            pass.next_row = end;
                            return Ok(());
                        }
                        pass.next_row += rows.start;
                        // Files of more rows than an index can count are cut by the caller.
                        let len = rows.end - rows.start;
                        frame = frame.slice(
                            i64::try_from(rows.start).unwrap_or(i64::MAX),
                            len.try_into().unwrap_or(u32::MAX),
                        );
                        Some(end)
                    }
                    None => None,
                }
            }
        };
        let mut selected: Vec<Expr> = wanted
            .columns
            .iter()
            .enumerate()
            .map(|(idx, column)| col(column).cast(DataType::Float64).alias(feature_name(idx)))
            .collect();
        if wanted.index {
            selected.extend(self.index_columns(options));
        }
        if selected.is_empty() {
            // Nothing but the number of rows is wanted.
            let n_rows = self.n_rows(object, options)? as usize;
            let first_row = pass.next_row;
            pass.next_row += n_rows as u64;
            let batch = FeatureBatch {
                first_row,
                n_rows,
                ..FeatureBatch::default()
            };
            // The only batch: whether more are wanted is all the same.
            return match visit(batch) {
                ControlFlow::Continue(()) | ControlFlow::Break(()) => Ok(()),
            };
        }
        for batch in batches(frame.select(selected), object)? {
            let batch = batch.map_err(|error| HistoryError::parquet(&object.uri, "read", error))?;
            let batch = match self.convert(&batch, object, options, wanted, pass) {
                Ok(batch) => batch,
                Err(Fault::Polars(error)) => {
                    return Err(HistoryError::parquet(&object.uri, "read", error));
                }
                Err(Fault::Value) => return Err(self.blame(object, options, wanted)?),
            };
            if batch.n_rows > 0 && visit(batch).is_break() {
                return Ok(());
            }
        }
        if let Some(end) = end {
            pass.next_row = end;
        }
        Ok(())
    }

    /// Time, symbol and label, in this order.
    fn index_columns(&self, options: &FeatureOptions) -> Vec<Expr> {
        let time = self.time.as_ref().map(|time| time.raw().alias(TIME));
        let symbol = options
            .symbol
            .as_ref()
            .map(|name| col(name).cast(DataType::String).alias(SYMBOL));
        let label = options.label.as_ref().map(|name| {
            let dtype = if self.label_is_text {
                DataType::String
            } else {
                DataType::Float64
            };
            col(name).cast(dtype).alias(LABEL)
        });
        time.into_iter().chain(symbol).chain(label).collect()
    }

    fn predicate(&self, options: &FeatureOptions) -> Option<Expr> {
        let range = self.time.as_ref().and_then(|time| {
            let is_missing = col(time.name()).is_null();
            Some(time.range(options.from, options.to)?.or(is_missing))
        });
        let symbols = options.symbol.as_ref().and_then(|name| {
            options
                .symbols
                .iter()
                .map(|wanted| col(name).cast(DataType::String).eq(lit(wanted.clone())))
                .reduce(Expr::or)
        });
        let complete = self.columns.iter().filter(|_| options.complete);
        let complete = complete.map(|name| col(name).is_not_null());
        let filters = range.into_iter().chain(symbols).chain(complete);
        filters.reduce(Expr::and)
    }

    fn convert(
        &self,
        frame: &DataFrame,
        object: &DataObject,
        options: &FeatureOptions,
        wanted: &Wanted<'_>,
        pass: &mut Pass,
    ) -> std::result::Result<FeatureBatch, Fault> {
        let n_rows = frame.height();
        let (features, others) = frame.columns().split_at(wanted.columns.len());
        let values = row_major(features, n_rows)?;
        if !wanted.index {
            let first_row = pass.next_row;
            pass.next_row += n_rows as u64;
            return Ok(FeatureBatch {
                first_row,
                n_rows,
                values,
                ..FeatureBatch::default()
            });
        }
        let mut others = others.iter();
        let mut next = || others.next().ok_or(Fault::Value);

        let time = match &self.time {
            Some(time) => Some(micros(next()?, time)?),
            None => None,
        };
        let symbol = if options.symbol.is_some() {
            let column = next()?.rechunk();
            let names = column.str()?;
            let codes = names.iter().map(|name| {
                name.map(|name| pass.symbols.code_of(name))
                    .ok_or(Fault::Value)
            });
            Some(codes.collect::<std::result::Result<Vec<u32>, Fault>>()?)
        } else {
            file_symbol(object).map(|symbol| vec![pass.symbols.code_of(symbol); n_rows])
        };
        let label = match &options.label {
            Some(_) if self.label_is_text => {
                let column = next()?.rechunk();
                let labels = column.str()?.iter();
                Some(
                    labels
                        .map(|label| {
                            pass.labels
                                .code_of(label.and_then(label_name).unwrap_or(""))
                        })
                        .collect(),
                )
            }
            Some(_) => {
                let column = next()?.rechunk();
                let labels = column.f64()?.iter();
                let codes = labels.map(|label| match label {
                    None => Ok(0),
                    Some(0.0) => Ok(0),
                    Some(1.0) => Ok(pass.labels.code_of(ANOMALY)),
                    Some(_) => Err(Fault::Value),
                });
                Some(codes.collect::<std::result::Result<Vec<u32>, Fault>>()?)
            }
            None => None,
        };
        let first_row = pass.next_row;
        pass.next_row += n_rows as u64;
        Ok(FeatureBatch {
            first_row,
            n_rows,
            time,
            symbol,
            symbol_names: pass.symbols.names(),
            label,
            label_names: pass.labels.names(),
            values,
        })
    }

    /// Finds the first offending value by its row in the file. Off the hot path: the pass itself
    /// carries no row numbers.
    fn blame(
        &self,
        object: &DataObject,
        options: &FeatureOptions,
        wanted: &Wanted<'_>,
    ) -> Result<HistoryError> {
        let number = |name: &str| col(name).cast(DataType::Float64);
        let mut suspects: Vec<(&str, Expr)> = wanted
            .columns
            .iter()
            .map(|name| {
                let bad = number(name).is_null().or(number(name).is_finite().not());
                (name.as_str(), bad)
            })
            .collect();
        let index = [&options.time, &options.symbol];
        for name in index.into_iter().flatten().filter(|_| wanted.index) {
            suspects.push((name, col(name).is_null()));
        }
        let label = options.label.as_ref();
        if let Some(name) = label.filter(|_| wanted.index && !self.label_is_text) {
            let is_known = number(name).eq(lit(0.0)).or(number(name).eq(lit(1.0)));
            suspects.push((name, is_known.not()));
        }
        let mut first: Option<(i64, String)> = None;
        for (name, is_bad) in suspects {
            let mut frame: LazyFrame = scan(object)?.with_row_index(ROW, None);
            if let Some(predicate) = self.predicate(options) {
                frame = frame.filter(predicate);
            }
            let found = frame
                .filter(is_bad)
                .select([
                    col(ROW).cast(DataType::Int64),
                    col(name).cast(DataType::String).alias("value"),
                ])
                .limit(1);
            let found = collect(found, object)?;
            let Some(row) = first_integer(&found) else {
                continue;
            };
            if first.as_ref().is_none_or(|(known, _)| row < *known) {
                let value = found
                    .column("value")
                    .ok()
                    .and_then(|column| Some(column.str().ok()?.get(0)?.to_owned()));
                let is_label = options.label.as_deref() == Some(name);
                first = Some((row, reason(name, value.as_deref(), is_label)));
            }
        }
        Ok(match first {
            Some((row, reason)) => HistoryError::row(&object.uri, row.unsigned_abs() + 1, reason),
            None => HistoryError::format(&object.uri, "it changed while it was being read"),
        })
    }
}

const TIME: &str = "__time";
const SYMBOL: &str = "__symbol";
const LABEL: &str = "__label";
const ROW: &str = "__row";

/// Two features may be the same column, which a frame would not allow by name.
fn feature_name(idx: usize) -> String {
    format!("__{idx}")
}

enum Fault {
    Polars(polars::error::PolarsError),
    /// Some value cannot be taken; which one, a second look finds out.
    Value,
}

impl From<polars::error::PolarsError> for Fault {
    fn from(error: polars::error::PolarsError) -> Self {
        Self::Polars(error)
    }
}

pub(crate) fn reason(name: &str, value: Option<&str>, is_label: bool) -> String {
    match value {
        Some(value) if is_label => format!(
            "{name} `{value}` is neither 0 nor 1; a label is 0 for a normal row and 1 for an anomaly, or text"
        ),
        Some(value) => format!("{name} `{value}` is not a finite number"),
        None => format!("{name} is null"),
    }
}

/// Turns columns `(n_features, n_rows)` into rows `(n_rows, n_features)`.
fn row_major(columns: &[Column], n_rows: usize) -> std::result::Result<Vec<f64>, Fault> {
    let columns: Vec<Column> = columns.iter().map(Column::rechunk).collect();
    let mut slices = Vec::with_capacity(columns.len());
    for column in &columns {
        if column.null_count() > 0 {
            return Err(Fault::Value);
        }
        let slice = column.f64()?.cont_slice()?;
        // The sum of v × 0 is 0 exactly if every value is finite, and has no branch.
        if slice.iter().map(|value| value * 0.0).sum::<f64>() != 0.0 {
            return Err(Fault::Value);
        }
        slices.push(slice);
    }
    let n_features = slices.len();
    let mut values = vec![0.0; n_rows * n_features];
    if n_features == 0 {
        return Ok(values);
    }
    for (block_idx, block) in values.chunks_mut(BLOCK_ROWS * n_features).enumerate() {
        let first = block_idx * BLOCK_ROWS;
        for (feature_idx, slice) in slices.iter().enumerate() {
            let cells = block[feature_idx..].iter_mut().step_by(n_features);
            for (cell, value) in cells.zip(&slice[first..]) {
                *cell = *value;
            }
        }
    }
    Ok(values)
}

fn micros(column: &Column, time: &TimeColumn) -> std::result::Result<Vec<i64>, Fault> {
    if column.null_count() > 0 {
        return Err(Fault::Value);
    }
    let column = column.rechunk();
    let raw = column.i64()?.cont_slice()?;
    Ok(raw.iter().map(|raw| time.micros(*raw)).collect())
}

fn is_numeric(dtype: &DataType) -> bool {
    dtype.is_primitive_numeric() || dtype.is_bool()
}

fn is_text(dtype: &DataType) -> bool {
    dtype.is_string() || dtype.is_categorical() || dtype.is_enum() || dtype.is_null()
}

fn dtype_of<'s>(object: &DataObject, schema: &'s SchemaRef, name: &str) -> Result<&'s DataType> {
    schema.get(name).ok_or_else(|| {
        let names = names_of(schema);
        HistoryError::MissingColumn {
            uri: object.uri.clone(),
            column: name.to_owned(),
            hint: near_names(name, names.iter().map(String::as_str)),
        }
    })
}

fn wrong_type(
    object: &DataObject,
    column: &str,
    dtype: &DataType,
    expected: &'static str,
) -> HistoryError {
    HistoryError::ColumnType {
        uri: object.uri.clone(),
        column: column.to_owned(),
        found: dtype.to_string(),
        expected,
    }
}
