//! Reading trades.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use market::{Side, Trade};

use crate::columns::{Role, TradeIds};
use crate::error::{HistoryError, Result};
use crate::location::DataObject;
use crate::options::{Labels, ReadOptions};
use crate::rows::{Content, Rows, with_rows};
use crate::symbol::{SymbolLookup, check_symbols_found};
use crate::time::show_time;

/// The trades of one symbol, in time order.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolTrades {
    /// The symbol.
    pub symbol: String,
    /// Its trades; equal times stay in the order of their file.
    pub trades: Vec<Trade>,
    /// The label of each trade, where any file has a label column.
    pub labels: Option<Labels>,
    /// Trades that a second file repeated and that were therefore dropped; see [`read_trades`].
    pub n_duplicates: u64,
}

/// One trade as it stands in a file.
#[derive(Clone, Copy, Debug)]
pub struct TradeRow<'a> {
    /// The symbol.
    pub symbol: &'a str,
    /// Its place among the symbols of this reading, in the order of their first trades.
    pub symbol_idx: usize,
    /// The trade; its `event` is empty.
    pub trade: Trade,
    /// Its label; `None` for a normal one.
    pub label: Option<&'a str>,
    /// Whether its file has a label column.
    pub is_labelled: bool,
    /// What its file's ids count.
    pub(crate) ids: TradeIds,
    /// Where it stands: the 1-based line of a text file, the 1-based row of a Parquet file.
    pub row: u64,
}

/// Reads trades of one or many files, per symbol (sorted by name) and in time order.
///
/// Each file must be in time order per symbol: an earlier trade after a later one is refused with
/// both rows, never sorted in silence. Files of one symbol may overlap: a trade that an earlier
/// file (in the order of `objects`) has already brought, known by its id or, without ids, by
/// equal time, price, quantity and side, is dropped and counted. Repetitions *within* a file are
/// kept: exchanges do report equal trades, and the feature engine knows how to drop repeated ids.
///
/// Binance's `trades` and `aggTrades` tell of the same trades under different ids: files of both
/// for one symbol are refused.
pub fn read_trades(objects: &[DataObject], options: &ReadOptions) -> Result<Vec<SymbolTrades>> {
    let mut symbols: BTreeMap<String, Merge> = BTreeMap::new();
    for (object_idx, object) in objects.iter().enumerate() {
        let mut mixed = None;
        for_each_trade(object, options, |row| {
            if !symbols.contains_key(row.symbol) {
                symbols.insert(row.symbol.to_owned(), Merge::default());
            }
            if let Some(merge) = symbols.get_mut(row.symbol) {
                if let Some(other) = merge.check_ids(object_idx, row.ids) {
                    mixed = Some((row.symbol.to_owned(), other));
                    return ControlFlow::Break(());
                }
                merge.push(object_idx, &row);
            }
            ControlFlow::Continue(())
        })?;
        if let Some((symbol, other)) = mixed {
            let other = objects.get(other).map_or("", |object| object.uri.as_str());
            return Err(HistoryError::format(
                &object.uri,
                format!(
                    "of trades and aggregate trades of `{symbol}`, it holds the one and `{other}` \
                     the other: they are the same trades under different ids"
                ),
            ));
        }
    }
    check_symbols_found(objects, options, symbols.keys().map(String::as_str))?;
    Ok(symbols
        .into_iter()
        .map(|(symbol, merge)| merge.finish(symbol))
        .collect())
}

/// Hands every wanted trade of one file to `visit`, in the order of the file and in bounded
/// memory, until it breaks. Checks what [`read_trades`] checks within a file.
pub fn for_each_trade(
    object: &DataObject,
    options: &ReadOptions,
    visit: impl FnMut(TradeRow<'_>) -> ControlFlow<()>,
) -> Result<()> {
    for_each_good_trade(object, options, visit, Err)
}

/// As [`for_each_trade`], but a row that cannot be accepted goes to `refuse`, which may let the
/// reading go on without it.
pub fn for_each_good_trade(
    object: &DataObject,
    options: &ReadOptions,
    mut visit: impl FnMut(TradeRow<'_>) -> ControlFlow<()>,
    mut refuse: impl FnMut(HistoryError) -> Result<()>,
) -> Result<()> {
    let mut is_done = false;
    // Zip members continue each other.
    let mut last = LastTrades::default();
    with_rows(object, Content::Trades, options, |rows| {
        let mut lookup = SymbolLookup::new(object, options, rows)?;
        while !is_done && !lookup.skips_file() {
            match next_trade(rows, &mut lookup, options, &mut last, &mut visit) {
                Ok(Some(flow)) => is_done = flow.is_break(),
                Ok(None) => break,
                Err(error @ HistoryError::Row { .. }) => refuse(error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

/// The symbols (sorted) of a file whose rows all follow each other in time, whatever else they hold; `None`
/// if they don't, or a symbol or time can't be read.
///
/// Prices, quantities and sides are not looked at: it is much less work than reading the trades.
pub fn symbols_in_order(object: &DataObject, options: &ReadOptions) -> Result<Option<Vec<String>>> {
    let mut symbols = SymbolPlaces::default();
    let mut last = i64::MIN;
    let mut is_in_order = true;
    let looked = with_rows(object, Content::Trades, options, |rows| {
        let mut lookup = SymbolLookup::new(object, options, rows)?;
        while is_in_order && !lookup.skips_file() && rows.advance()? {
            let rows: &dyn Rows = rows;
            let Some(symbol) = lookup.wanted(rows)? else {
                continue;
            };
            let event_time = rows.time()?;
            if options.wants_time(event_time) {
                symbols.of(symbol);
                is_in_order = event_time >= last;
                last = event_time;
            }
        }
        Ok(())
    });
    match looked {
        Ok(()) => Ok(is_in_order.then(|| symbols.into_names())),
        Err(HistoryError::Row { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at the next row; `None` at the end of the file.
fn next_trade(
    rows: &mut dyn Rows,
    lookup: &mut SymbolLookup<'_>,
    options: &ReadOptions,
    last: &mut LastTrades,
    visit: &mut impl FnMut(TradeRow<'_>) -> ControlFlow<()>,
) -> Result<Option<ControlFlow<()>>> {
    const GO_ON: Option<ControlFlow<()>> = Some(ControlFlow::Continue(()));
    if !rows.advance()? {
        return Ok(None);
    }
    let rows: &dyn Rows = rows;
    let Some(symbol) = lookup.wanted(rows)? else {
        return Ok(GO_ON);
    };
    let event_time = rows.time()?;
    if !options.wants_time(event_time) {
        return Ok(GO_ON);
    }
    let trade = trade_of(rows, event_time)?;
    let row = rows.row();
    let (symbol_idx, last) = last.of(symbol, (event_time, row));
    if event_time < last.0 {
        return Err(unsorted(rows, event_time, *last));
    }
    *last = (event_time, row);
    Ok(Some(visit(TradeRow {
        symbol,
        symbol_idx,
        trade,
        label: rows.label()?,
        is_labelled: rows.has_label(),
        ids: rows.trade_ids(),
        row,
    })))
}

/// Time and row of the last trade of each symbol.
#[derive(Default)]
struct LastTrades {
    symbols: SymbolPlaces,
    last: Vec<(i64, u64)>,
}

impl LastTrades {
    /// A symbol's place and its last trade; `first` if it has none yet.
    fn of(&mut self, symbol: &str, first: (i64, u64)) -> (usize, &mut (i64, u64)) {
        let place = self.symbols.of(symbol);
        if place == self.last.len() {
            self.last.push(first);
        }
        (place, &mut self.last[place])
    }
}

/// The symbols of a reading, in the order in which they came.
#[derive(Default)]
struct SymbolPlaces {
    places: HashMap<String, usize, foldhash::fast::RandomState>,
    /// The symbol that was asked for last, and its place.
    current: Option<(String, usize)>,
}

impl SymbolPlaces {
    /// The place of a symbol; a new one gets the next.
    fn of(&mut self, symbol: &str) -> usize {
        if let Some((current, place)) = &self.current
            && current == symbol
        {
            return *place;
        }
        let place = match self.places.get(symbol) {
            Some(place) => *place,
            None => {
                let place = self.places.len();
                self.places.insert(symbol.to_owned(), place);
                place
            }
        };
        let (current, current_place) = self.current.get_or_insert_default();
        current.clear();
        current.push_str(symbol);
        *current_place = place;
        place
    }

    /// All of them, sorted.
    fn into_names(self) -> Vec<String> {
        let mut names: Vec<String> = self.places.into_keys().collect();
        names.sort();
        names
    }
}

fn unsorted(rows: &dyn Rows, event_time: i64, (last_time, last_row): (i64, u64)) -> HistoryError {
    rows.refuse(format!(
        "its time {} is before {} of row {last_row}; trades must be in time order",
        show_time(event_time),
        show_time(last_time)
    ))
}

fn trade_of(rows: &dyn Rows, event_time: i64) -> Result<Trade> {
    let trade = Trade {
        event_time,
        trade_id: rows.optional_integer(Role::TradeId)?,
        price: rows.number(Role::Price)?,
        quantity: rows.number(Role::Quantity)?,
        side: side_of(rows)?,
        event: None,
    };
    trade
        .check()
        .map_err(|error| rows.refuse(error.to_string()))?;
    Ok(trade)
}

fn side_of(rows: &dyn Rows) -> Result<Side> {
    if rows.has(Role::Side) {
        let text = rows.text(Role::Side)?;
        return text
            .parse()
            .map_err(|error: market::ParseSideError| rows.refuse(error.to_string()));
    }
    // A buyer who made the order book was met by a seller who took from it.
    match rows.text(Role::IsBuyerMaker)? {
        "true" | "True" | "TRUE" | "1" => Ok(Side::Sell),
        "false" | "False" | "FALSE" | "0" => Ok(Side::Buy),
        text => Err(rows.refuse(format!(
            "is_buyer_maker `{text}` is neither `true` nor `false`"
        ))),
    }
}

/// The trades of one symbol while files are being read.
#[derive(Default)]
struct Merge {
    trades: Vec<Trade>,
    labels: Labels,
    has_label: bool,
    /// What the ids count, and the first object that tells.
    ids: Option<(TradeIds, usize)>,
    /// First trade of each file's run: its object and its index in `trades`.
    runs: Vec<(usize, usize)>,
    is_sorted: bool,
}

impl Merge {
    /// The object whose ids count something else than this one's.
    fn check_ids(&mut self, object_idx: usize, ids: TradeIds) -> Option<usize> {
        match (ids, self.ids) {
            (TradeIds::Unknown, _) => None,
            (ids, Some((known, other))) => (known != ids).then_some(other),
            (ids, None) => {
                self.ids = Some((ids, object_idx));
                None
            }
        }
    }

    fn push(&mut self, object_idx: usize, row: &TradeRow<'_>) {
        if self.runs.last().is_none_or(|(last, _)| *last != object_idx) {
            let continues = self
                .trades
                .last()
                .is_none_or(|last| last.event_time < row.trade.event_time);
            self.is_sorted = continues && (self.is_sorted || self.runs.is_empty());
            self.runs.push((object_idx, self.trades.len()));
        }
        self.trades.push(row.trade);
        self.labels.push(row.label);
        self.has_label |= row.is_labelled;
    }

    fn finish(mut self, symbol: String) -> SymbolTrades {
        let n_duplicates = if self.is_sorted { 0 } else { self.interleave() };
        SymbolTrades {
            symbol,
            trades: self.trades,
            labels: self.has_label.then_some(self.labels),
            n_duplicates,
        }
    }

    /// Brings overlapping runs into one time order and drops what a later run repeats.
    fn interleave(&mut self) -> u64 {
        let run_of = |idx: usize| self.runs.partition_point(|(_, first)| *first <= idx);
        let mut order: Vec<usize> = (0..self.trades.len()).collect();
        // Stable: equal times keep the order of the files, and of the rows within them.
        order.sort_by_key(|idx| self.trades[*idx].event_time);

        let mut kept = Vec::with_capacity(order.len());
        let mut n_duplicates = 0;
        for group in order.chunk_by(|a, b| self.trades[*a].event_time == self.trades[*b].event_time)
        {
            // Per identity, how often each run has it: the most that any run has is kept.
            let mut seen: HashMap<Identity, (usize, u64, u64)> = HashMap::new();
            for idx in group {
                let (run, n_in_run, n_kept) = seen
                    .entry(identity(&self.trades[*idx]))
                    .or_insert((0, 0, 0));
                if *run != run_of(*idx) {
                    (*run, *n_in_run) = (run_of(*idx), 0);
                }
                *n_in_run += 1;
                if *n_in_run > *n_kept {
                    *n_kept += 1;
                    kept.push(*idx);
                } else {
                    n_duplicates += 1;
                }
            }
        }
        self.trades = kept.iter().map(|idx| self.trades[*idx]).collect();
        self.labels.codes = kept.iter().map(|idx| self.labels.codes[*idx]).collect();
        n_duplicates
    }
}

type Identity = (Option<u64>, u64, u64, bool);

/// What makes two trades of one moment the same.
fn identity(trade: &Trade) -> Identity {
    match trade.trade_id {
        Some(id) => (Some(id), 0, 0, false),
        None => (
            None,
            trade.price.to_bits(),
            trade.quantity.to_bits(),
            trade.side == Side::Buy,
        ),
    }
}
