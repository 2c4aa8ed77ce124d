//! Parquet through Polars: only the columns and the rows that are wanted.

use std::num::NonZeroUsize;

use polars::prelude::{
    DataFrame, DataType, Engine, Expr, HiveOptions, LazyFrame, PlRefPath, PlSmallStr, PolarsResult,
    Scalar, ScanArgsParquet, SchemaRef, TimeUnit, col, lit,
};

use crate::error::{HistoryError, Result};
use crate::location::DataObject;
use crate::storage::off_runtime;

/// Rows per batch: 12 columns of `f64` are 6 MiB, which a second-level cache and a few batches in
/// flight can afford.
const BATCH_ROWS: usize = 1 << 16;

/// A lazy scan of one file; nothing but the metadata is read before it is collected.
pub(crate) fn scan(object: &DataObject) -> Result<LazyFrame> {
    let args = ScanArgsParquet {
        glob: false,
        cache: false,
        hive_options: HiveOptions::new_disabled(),
        cloud_options: object.is_s3().then(|| object.storage.cloud_options()),
        ..ScanArgsParquet::default()
    };
    LazyFrame::scan_parquet(PlRefPath::new(object.uri.as_str()), args)
        .map_err(|error| HistoryError::parquet(&object.uri, "open", error))
}

/// As [`scan`], for passes over large tables: a local file is read in ranges rather than mapped
/// into memory, where all of it would count as this process's memory before the pass ends.
pub(crate) fn scan_in_ranges(object: &DataObject) -> Result<LazyFrame> {
    // Such a URI may not go up by `..`.
    let path = match std::fs::canonicalize(&object.uri) {
        Ok(path) if !object.is_s3() => path,
        _ => return scan(object),
    };
    let ranged = DataObject {
        // Polars decodes percent signs in such a URI, and nothing else.
        uri: format!("file://{}", path.display().to_string().replace('%', "%25")),
        ..object.clone()
    };
    scan(&ranged)
}

/// The file's columns and their types.
pub(crate) fn schema_of(frame: &mut LazyFrame, object: &DataObject) -> Result<SchemaRef> {
    off_runtime(|| frame.collect_schema())
        .map_err(|error| HistoryError::parquet(&object.uri, "read the schema of", error))
}

/// Runs the query in the streaming engine, batch by batch, in the order of the rows.
///
/// The engine reads and decodes ahead while the caller works; dropping the iterator ends it.
pub(crate) fn batches(
    frame: LazyFrame,
    object: &DataObject,
) -> Result<impl Iterator<Item = PolarsResult<DataFrame>> + Send + use<>> {
    frame
        .collect_batches(
            Engine::Streaming,
            true,
            NonZeroUsize::new(BATCH_ROWS),
            false,
        )
        .map_err(|error| HistoryError::parquet(&object.uri, "read", error))
}

/// Collects a small result.
pub(crate) fn collect(frame: LazyFrame, object: &DataObject) -> Result<DataFrame> {
    off_runtime(|| frame.collect_with_engine(Engine::Streaming))
        .map(|result| result.unwrap_single())
        .map_err(|error| HistoryError::parquet(&object.uri, "read", error))
}

/// A column of event times, in whatever unit the file keeps them.
#[derive(Clone, Debug)]
pub(crate) struct TimeColumn {
    name: PlSmallStr,
    dtype: DataType,
    /// Units per microsecond, or microseconds per unit.
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    /// One unit is so many microseconds.
    Micros(i64),
    Nanos,
}

impl TimeColumn {
    /// Recognizes a date, a datetime of any unit, or a whole number whose unit its first value
    /// tells.
    pub(crate) fn new(
        object: &DataObject,
        frame: &LazyFrame,
        name: &str,
        dtype: &DataType,
    ) -> Result<Self> {
        let unit = match dtype {
            DataType::Datetime(TimeUnit::Nanoseconds, _) => Unit::Nanos,
            DataType::Datetime(TimeUnit::Microseconds, _) => Unit::Micros(1),
            DataType::Datetime(TimeUnit::Milliseconds, _) => Unit::Micros(1_000),
            DataType::Date => Unit::Micros(86_400_000_000),
            dtype if dtype.is_integer() => {
                let first = frame
                    .clone()
                    .select([col(name).cast(DataType::Int64)])
                    .limit(1);
                let first = collect(first, object)?;
                unit_of_number(first_integer(&first).unwrap_or(0))
            }
            dtype => {
                return Err(HistoryError::ColumnType {
                    uri: object.uri.clone(),
                    column: name.to_owned(),
                    found: dtype.to_string(),
                    expected: "a datetime or a whole number",
                });
            }
        };
        Ok(Self {
            name: name.into(),
            dtype: dtype.clone(),
            unit,
        })
    }

    /// The column as raw `Int64`, under its own name.
    pub(crate) fn raw(&self) -> Expr {
        col(self.name.clone())
            .to_physical()
            .cast(DataType::Int64)
            .alias(self.name.clone())
    }

    /// The column's name.
    pub(crate) fn name(&self) -> PlSmallStr {
        self.name.clone()
    }

    /// A raw value in microseconds since the epoch.
    pub(crate) fn micros(&self, raw: i64) -> i64 {
        match self.unit {
            Unit::Micros(scale) => raw.saturating_mul(scale),
            Unit::Nanos => raw.div_euclid(1_000),
        }
    }

    /// The predicate of `from ≤ time < to`, in the column's own unit so that it can be compared
    /// with the statistics of row groups; rows without a time pass, to be refused by name.
    pub(crate) fn range(&self, from: Option<i64>, to: Option<i64>) -> Option<Expr> {
        let column = || col(self.name.clone());
        let bound = |micros: i64| match (self.unit, &self.dtype) {
            // Dates are 32-bit days.
            (Unit::Micros(scale), DataType::Date) => {
                lit(ceil_div(micros, scale).clamp(i32::MIN.into(), i32::MAX.into()) as i32)
                    .cast(DataType::Date)
            }
            (Unit::Micros(scale), dtype) => literal(ceil_div(micros, scale), dtype),
            (Unit::Nanos, dtype) => literal(micros.saturating_mul(1_000), dtype),
        };
        let after = from.map(|from| column().gt_eq(bound(from)));
        let before = to.map(|to| column().lt(bound(to)));
        let both = match (after, before) {
            (Some(after), Some(before)) => after.and(before),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        Some(both)
    }
}

/// A constant of the column's own type: a cast would lose the time zone, and the comparison then
/// fail.
fn literal(raw: i64, dtype: &DataType) -> Expr {
    match dtype {
        DataType::Datetime(unit, zone) => lit(Scalar::new_datetime(raw, *unit, zone.clone())),
        dtype => lit(raw).cast(dtype.clone()),
    }
}

fn ceil_div(micros: i64, scale: i64) -> i64 {
    -(-micros.max(-i64::MAX)).div_euclid(scale)
}

fn unit_of_number(number: i64) -> Unit {
    match number.unsigned_abs() {
        0..100_000_000_000 => Unit::Micros(1_000_000),
        100_000_000_000..100_000_000_000_000 => Unit::Micros(1_000),
        100_000_000_000_000..100_000_000_000_000_000 => Unit::Micros(1),
        _ => Unit::Nanos,
    }
}

/// The first value of a frame's first column.
pub(crate) fn first_integer(frame: &DataFrame) -> Option<i64> {
    let column = frame
        .columns()
        .first()
        .filter(|column| !column.is_empty())?;
    column.cast(&DataType::Int64).ok()?.i64().ok()?.get(0)
}

/// The names of a schema, for hints.
pub(crate) fn names_of(schema: &SchemaRef) -> Vec<String> {
    schema.iter_names().map(|name| name.to_string()).collect()
}
