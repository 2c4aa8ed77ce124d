//! Feature tables in CSV.

use std::io::Read;
use std::ops::ControlFlow;
use std::str;

use csv::{ByteRecord, Reader, ReaderBuilder};

use crate::error::{HistoryError, Result, near_names};
use crate::features::{
    FeatureBatch, FeatureOptions, INDEX_COLUMN, Pass, Wanted, is_other, wants_file,
};
use crate::features_parquet::reason;
use crate::location::DataObject;
use crate::rows::label_name;
use crate::source::with_text;
use crate::symbol::file_symbol;
use crate::time::parse_time;

const BATCH_ROWS: usize = 1 << 14;

/// Rows that are looked at to see which columns are numeric.
const SAMPLE_ROWS: usize = 1_000;

/// A CSV file whose header was found good.
#[derive(Debug)]
pub(crate) struct CsvTable {
    columns: Vec<String>,
    left_out: Vec<String>,
}

/// Where the wanted columns stand in a file.
struct Plan {
    features: Vec<(String, usize)>,
    time: Option<(String, usize)>,
    symbol: Option<(String, usize)>,
    label: Option<(String, usize)>,
    /// Rows in which one of these is empty are left out.
    needed: Vec<usize>,
    width: usize,
}

impl CsvTable {
    pub(crate) fn open(object: &DataObject, options: &FeatureOptions) -> Result<Self> {
        let mut columns = None;
        let mut left_out = Vec::new();
        with_text(object, |name, source| {
            let mut reader = reader_of(source);
            let header = read_header(&mut reader, name)?;
            let known: Vec<String> = match (&columns, &options.columns) {
                (Some(known), _) | (None, Some(known)) => Vec::clone(known),
                (None, None) => {
                    let (numeric, others) = columns_of(&mut reader, name, &header, options)?;
                    left_out = others;
                    numeric
                }
            };
            Plan::new(name, &header, &known, options)?;
            columns = Some(known);
            Ok(())
        })?;
        Ok(Self {
            columns: columns.unwrap_or_default(),
            left_out,
        })
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    pub(crate) fn n_rows(&self, object: &DataObject, options: &FeatureOptions) -> Result<u64> {
        let mut n_rows = 0;
        let wanted = Wanted::all(&[]);
        self.read(
            object,
            options,
            &wanted,
            &mut Pass::default(),
            &mut |batch| {
                n_rows += batch.n_rows as u64;
                ControlFlow::Continue(())
            },
        )?;
        Ok(n_rows)
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
        let mut stopped = false;
        with_text(object, |name, source| {
            if stopped {
                return Ok(());
            }
            let mut reader = reader_of(source);
            let header = read_header(&mut reader, name)?;
            let plan = Plan::new(name, &header, wanted.columns, options)?;
            let mut record = ByteRecord::new();
            loop {
                let mut batch =
                    plan.read_batch(&mut reader, &mut record, name, object, options, pass)?;
                if batch.n_rows == 0 {
                    return Ok(());
                }
                if !wanted.index {
                    (batch.time, batch.symbol, batch.label) = (None, None, None);
                }
                if visit(batch).is_break() {
                    stopped = true;
                    return Ok(());
                }
            }
        })
    }
}

impl Plan {
    fn new(
        uri: &str,
        header: &[String],
        columns: &[String],
        options: &FeatureOptions,
    ) -> Result<Self> {
        let find = |name: &String| match header.iter().position(|column| column == name) {
            Some(idx) => Ok((name.clone(), idx)),
            None => Err(HistoryError::MissingColumn {
                uri: uri.to_owned(),
                column: name.clone(),
                hint: near_names(name, header.iter().map(String::as_str)),
            }),
        };
        let needed = options.columns.iter().flatten();
        let needed = needed.filter(|_| options.complete);
        Ok(Self {
            needed: needed
                .map(|name| find(name).map(|(_, idx)| idx))
                .collect::<Result<_>>()?,
            features: columns.iter().map(find).collect::<Result<_>>()?,
            time: options.time.as_ref().map(find).transpose()?,
            symbol: options.symbol.as_ref().map(find).transpose()?,
            label: options.label.as_ref().map(find).transpose()?,
            width: header.len(),
        })
    }

    /// Reads the next rows; none at the end.
    fn read_batch<R: Read>(
        &self,
        reader: &mut Reader<R>,
        record: &mut ByteRecord,
        uri: &str,
        object: &DataObject,
        options: &FeatureOptions,
        pass: &mut Pass,
    ) -> Result<FeatureBatch> {
        let of_file = file_symbol(object).map(|symbol| pass.symbols.code_of(symbol));
        let mut batch = FeatureBatch {
            first_row: pass.next_row,
            time: self.time.as_ref().map(|_| Vec::new()),
            symbol: (self.symbol.is_some() || of_file.is_some()).then(Vec::new),
            label: self.label.as_ref().map(|_| Vec::new()),
            ..FeatureBatch::default()
        };
        while batch.n_rows < BATCH_ROWS && read(reader, record, uri)? {
            let line = record.position().map_or(0, csv::Position::line);
            let refuse = |reason: String| HistoryError::row(uri, line, reason);
            if record.len() != self.width {
                return Err(refuse(format!(
                    "it has {} fields where the header has {}",
                    record.len(),
                    self.width
                )));
            }
            let is_empty = |idx: &usize| record[*idx].trim_ascii().is_empty();
            if self.needed.iter().any(is_empty) {
                continue;
            }
            let field = |(name, idx): &(String, usize)| {
                let field = record.get(*idx).unwrap_or_default();
                match str::from_utf8(field) {
                    Ok(text) => Ok(text.trim()),
                    Err(_) => Err(refuse(format!("{name} is not UTF-8 text"))),
                }
            };
            if let (Some(column), Some(times)) = (&self.time, &mut batch.time) {
                let text = field(column)?;
                let time = parse_time(text)
                    .ok_or_else(|| refuse(format!("{} `{text}` is not a time", column.0)))?;
                let is_early = options.from.is_some_and(|from| time < from);
                if is_early || options.to.is_some_and(|to| time >= to) {
                    continue;
                }
                times.push(time);
            }
            if let Some(column) = &self.symbol {
                let symbol = field(column)?;
                if symbol.is_empty() {
                    return Err(refuse(reason(&column.0, None, false)));
                }
                if !options.symbols.is_empty() && !options.symbols.iter().any(|s| s == symbol) {
                    if let Some(times) = &mut batch.time {
                        times.pop();
                    }
                    continue;
                }
                if let Some(symbols) = &mut batch.symbol {
                    symbols.push(pass.symbols.code_of(symbol));
                }
            } else if let (Some(code), Some(symbols)) = (of_file, &mut batch.symbol) {
                symbols.push(code);
            }
            if let (Some(column), Some(labels)) = (&self.label, &mut batch.label) {
                let label = label_name(field(column)?).unwrap_or("");
                // A column of numbers must be one of zeros and ones.
                if label.parse::<f64>().is_ok() {
                    return Err(refuse(reason(&column.0, Some(label), true)));
                }
                labels.push(pass.labels.code_of(label));
            }
            for column in &self.features {
                let text = field(column)?;
                let value = number(text).ok_or_else(|| {
                    let text = (!text.is_empty()).then_some(text);
                    refuse(reason(&column.0, text, false))
                })?;
                batch.values.push(value);
            }
            batch.n_rows += 1;
        }
        pass.next_row += batch.n_rows as u64;
        batch.symbol_names = pass.symbols.names();
        batch.label_names = pass.labels.names();
        Ok(batch)
    }
}

fn reader_of<R: Read>(source: R) -> Reader<R> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(1 << 17)
        .from_reader(source)
}

fn read<R: Read>(reader: &mut Reader<R>, record: &mut ByteRecord, uri: &str) -> Result<bool> {
    reader.read_byte_record(record).map_err(|error| {
        let line = reader.position().line();
        match error.into_kind() {
            csv::ErrorKind::Io(source) => HistoryError::io(uri, "read", source),
            _ => HistoryError::row(uri, line, "it is not CSV"),
        }
    })
}

fn read_header<R: Read>(reader: &mut Reader<R>, uri: &str) -> Result<Vec<String>> {
    let mut record = ByteRecord::new();
    if !read(reader, &mut record, uri)? {
        return Err(HistoryError::format(uri, "the file is empty"));
    }
    let header: Vec<String> = record
        .iter()
        .map(|field| {
            let name = String::from_utf8_lossy(field);
            name.trim_start_matches('\u{feff}').trim().to_owned()
        })
        .collect();
    if header.iter().all(|name| number(name).is_some()) {
        return Err(HistoryError::format(
            uri,
            "the first row is no header; a feature table needs the names of its columns",
        ));
    }
    Ok(header)
}

/// The columns to be taken for numbers (or booleans), and the others. Only a column whose first rows hold text
/// and no number at all is one of text: where a number stands beside text, the text is a mistake
/// that is refused when its row is read, and the column isn't dropped in silence.
fn columns_of<R: Read>(
    reader: &mut Reader<R>,
    uri: &str,
    header: &[String],
    options: &FeatureOptions,
) -> Result<(Vec<String>, Vec<String>)> {
    #[derive(Clone, Copy, Default)]
    struct Seen {
        number: bool,
        text: bool,
    }
    let mut seen = vec![Seen::default(); header.len()];
    let mut record = ByteRecord::new();
    let mut n_rows = 0;
    while n_rows < SAMPLE_ROWS && read(reader, &mut record, uri)? {
        for (seen, field) in seen.iter_mut().zip(&record) {
            let text = str::from_utf8(field).unwrap_or("x").trim();
            // An empty field or NaN does not make a column of text; it is refused when read.
            let is_number = text.parse::<f64>().is_ok() || number(text).is_some();
            seen.number |= is_number;
            seen.text |= !is_number && !text.is_empty();
        }
        n_rows += 1;
    }
    let is_feature = |name: &str, seen: Seen| name != INDEX_COLUMN && (seen.number || !seen.text);
    let (features, others): (Vec<_>, Vec<_>) = header
        .iter()
        .zip(seen)
        .filter(|(name, _)| !is_other(name, options))
        .partition(|(name, seen)| is_feature(name, *seen));
    let names = |columns: Vec<(&String, Seen)>| {
        let names = columns.into_iter().map(|(name, _)| name.clone());
        names.collect()
    };
    Ok((names(features), names(others)))
}

/// A finite number, or a boolean as 0 or 1.
fn number(text: &str) -> Option<f64> {
    match text {
        "true" | "True" | "TRUE" => Some(1.0),
        "false" | "False" | "FALSE" => Some(0.0),
        text => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}
