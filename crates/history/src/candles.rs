//! Reading candles.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use market::{Candle, Interval};

use crate::columns::Role;
use crate::error::{HistoryError, Result};
use crate::location::DataObject;
use crate::options::{Labels, ReadOptions};
use crate::rows::{Content, Rows, with_rows};
use crate::symbol::{SymbolLookup, check_symbols_found};
use crate::time::show_time;

/// The candles of one symbol, in time order, without repetition; gaps are as in the files.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolCandles {
    /// The symbol.
    pub symbol: String,
    /// Its candles.
    pub candles: Vec<Candle>,
    /// The label of each candle, where any file has a label column.
    pub labels: Option<Labels>,
}

/// One candle as it stands in a file.
#[derive(Clone, Copy, Debug)]
pub struct CandleRow<'a> {
    /// The symbol.
    pub symbol: &'a str,
    /// The candle; its `event` is empty.
    pub candle: Candle,
    /// Its label; `None` for a normal one.
    pub label: Option<&'a str>,
    /// Whether its file has a label column.
    pub is_labelled: bool,
    /// Where it stands: the 1-based line of a text file, the 1-based row of a Parquet file.
    pub row: u64,
}

/// Reads candles of one or many files, per symbol (sorted by name) and in time order.
///
/// Refused, with the rows: a candle that does not start on a whole `interval` or is inconsistent
/// ([`Candle::check`]), one that comes after a later one in its file, and one whose time is there
/// already, be it in another file. Files that lie closer or further apart than `interval`
/// throughout (one-hour candles read as one-minute candles) are refused, too.
pub fn read_candles(
    objects: &[DataObject],
    interval: Interval,
    options: &ReadOptions,
) -> Result<Vec<SymbolCandles>> {
    let mut symbols: BTreeMap<String, Merge> = BTreeMap::new();
    for (object_idx, object) in objects.iter().enumerate() {
        for_each_candle(object, interval, options, |row| {
            if !symbols.contains_key(row.symbol) {
                symbols.insert(row.symbol.to_owned(), Merge::default());
            }
            if let Some(merge) = symbols.get_mut(row.symbol) {
                merge.push(object_idx, &row);
            }
            ControlFlow::Continue(())
        })?;
    }
    check_symbols_found(objects, options, symbols.keys().map(String::as_str))?;
    symbols
        .into_iter()
        .map(|(symbol, merge)| merge.finish(symbol, objects, interval))
        .collect()
}

/// Hands every wanted candle of one file to `visit`, in the order of the file and in bounded
/// memory, until it breaks. Checks what [`read_candles`] checks within a file, except that the
/// distance of the candles is `interval`.
pub fn for_each_candle(
    object: &DataObject,
    interval: Interval,
    options: &ReadOptions,
    mut visit: impl FnMut(CandleRow<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let mut is_done = false;
    let mut last: HashMap<String, (i64, u64)> = HashMap::new();
    with_rows(object, Content::Candles, options, |rows| {
        let mut lookup = SymbolLookup::new(object, options, rows)?;
        while !is_done && !lookup.skips_file() && rows.advance()? {
            let Some(symbol) = lookup.wanted(rows)? else {
                continue;
            };
            let open_time = rows.time()?;
            if !options.wants_time(open_time) {
                continue;
            }
            let candle = candle_of(rows, open_time, interval)?;
            let row = rows.row();
            match last.get_mut(symbol) {
                Some(last) => {
                    if open_time <= last.0 {
                        return Err(out_of_order(rows, open_time, *last));
                    }
                    *last = (open_time, row);
                }
                None => {
                    last.insert(symbol.to_owned(), (open_time, row));
                }
            }
            let row = CandleRow {
                symbol,
                candle,
                label: rows.label()?,
                is_labelled: rows.has_label(),
                row,
            };
            is_done = visit(row).is_break();
        }
        Ok(())
    })
}

fn out_of_order(
    rows: &dyn Rows,
    open_time: i64,
    (last_time, last_row): (i64, u64),
) -> HistoryError {
    let time = show_time(open_time);
    rows.refuse(if open_time == last_time {
        format!("its time {time} is the one of row {last_row}; a time may have one candle only")
    } else {
        let last = show_time(last_time);
        format!("its time {time} is before {last} of row {last_row}; candles must be in time order")
    })
}

fn candle_of(rows: &dyn Rows, open_time: i64, interval: Interval) -> Result<Candle> {
    let candle = Candle {
        open_time,
        open: rows.number(Role::Open)?,
        high: rows.number(Role::High)?,
        low: rows.number(Role::Low)?,
        close: rows.number(Role::Close)?,
        volume: rows.number(Role::Volume)?,
        quote_volume: rows.optional_number(Role::QuoteVolume)?,
        buy_volume: rows.optional_number(Role::BuyVolume)?,
        trade_count: rows.optional_integer(Role::TradeCount)?,
        event: None,
    };
    candle
        .check(interval)
        .map_err(|error| rows.refuse(error.to_string()))?;
    Ok(candle)
}

/// The candles of one symbol while files are being read.
#[derive(Default)]
struct Merge {
    candles: Vec<Candle>,
    labels: Labels,
    has_label: bool,
    /// Object and row of each candle, for refusals.
    places: Vec<(u32, u64)>,
}

impl Merge {
    fn push(&mut self, object_idx: usize, row: &CandleRow<'_>) {
        self.candles.push(row.candle);
        self.labels.push(row.label);
        self.has_label |= row.is_labelled;
        self.places.push((object_idx as u32, row.row));
    }

    fn finish(
        self,
        symbol: String,
        objects: &[DataObject],
        interval: Interval,
    ) -> Result<SymbolCandles> {
        let uri_of = |object_idx: u32| {
            let object = objects.get(object_idx as usize);
            object.map_or("", |object| object.uri.as_str())
        };
        let mut order: Vec<usize> = (0..self.candles.len()).collect();
        order.sort_by_key(|idx| self.candles[*idx].open_time);
        let mut nearest: Option<(i64, usize)> = None;
        for pair in order.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            let (earlier, later) = (&self.candles[first], &self.candles[second]);
            let distance = later.open_time - earlier.open_time;
            if distance == 0 {
                let (first_place, second_place) = (self.places[first], self.places[second]);
                return Err(HistoryError::row(
                    uri_of(second_place.0),
                    second_place.1,
                    format!(
                        "its time {} of `{symbol}` is the one of `{}` row {}; a time may have \
                         one candle only",
                        show_time(later.open_time),
                        uri_of(first_place.0),
                        first_place.1
                    ),
                ));
            }
            if nearest.is_none_or(|(nearest, _)| distance < nearest) {
                nearest = Some((distance, second));
            }
        }
        if let Some((distance, idx)) = nearest
            && distance != interval.micros()
        {
            let found = match Interval::from_micros(distance) {
                Ok(found) => format!("`{found}`"),
                Err(_) => format!("{} s", distance / 1_000_000),
            };
            let (object_idx, row) = self.places[idx];
            return Err(HistoryError::row(
                uri_of(object_idx),
                row,
                format!(
                    "candles of `{symbol}` lie at least {found} apart, so they are not of \
                     interval `{interval}`"
                ),
            ));
        }
        let mut labels = self.labels;
        labels.codes = order.iter().map(|idx| labels.codes[*idx]).collect();
        Ok(SymbolCandles {
            symbol,
            candles: order.iter().map(|idx| self.candles[*idx]).collect(),
            labels: self.has_label.then_some(labels),
        })
    }
}
