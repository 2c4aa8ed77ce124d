//! What to read, and what it comes back as.

/// Which rows to read and how to understand the files.
///
/// The default reads everything and finds out the rest by itself.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Only these symbols; empty for all. A symbol listed here and found nowhere is an error.
    pub symbols: Vec<String>,
    /// Only rows at or after this event time (µs since the epoch).
    pub from: Option<i64>,
    /// Only rows before this event time (µs since the epoch).
    pub to: Option<i64>,
    /// The symbol of files that name none, neither in a column nor in a `symbol=…/` folder nor
    /// in their own name.
    pub default_symbol: Option<String>,
    /// The column order of CSV files, where their header does not tell.
    pub layout: Option<CsvLayout>,
    /// The column of row labels; `None` means `label` if there is one, but a column named here
    /// must be there. Which labels are normal, [`Labels`] says.
    pub label: Option<String>,
}

impl ReadOptions {
    pub(crate) fn wants_time(&self, event_time: i64) -> bool {
        self.from.is_none_or(|from| event_time >= from) && self.to.is_none_or(|to| event_time < to)
    }

    pub(crate) fn wants_symbol(&self, symbol: &str) -> bool {
        self.symbols.is_empty() || self.symbols.iter().any(|wanted| wanted == symbol)
    }
}

/// The column order of a CSV file without a header (or in spite of one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsvLayout {
    /// Binance `trades`: id, price, qty, quote_qty, time, is_buyer_maker[, is_best_match]
    BinanceTrades,
    /// Binance `aggTrades`: id, price, quantity, first id, last id, time, is_buyer_maker[, …]
    BinanceAggTrades,
    /// timestamp, side, price, amount
    PlainTrades,
    /// Binance `klines`: open time, open, high, low, close, volume, close time, quote volume,
    /// count, taker buy volume[, taker buy quote volume[, ignore]]
    BinanceKlines,
    /// time, open, high, low, close, volume
    Ohlcv,
    /// time, open, close, high, low, volume (Bitfinex)
    Ochlv,
}

/// One label per row, as codes into a list of names.
///
/// In a file, null, the empty text, `0`, `false`, and the words `normal`, `benign`, `none` and `ok`
/// (whatever their case) mean a normal row; `1` and `true` become `anomaly`; any other text is the
/// kind of an anomaly. Numbers other than 0 and 1 are refused in tables of features: of −1 and 1,
/// some tools mean the one to be the anomaly, some the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The names; the first is always empty and means "normal".
    pub names: Vec<String>,
    /// One code per row: an index into [`names`](Self::names).
    pub codes: Vec<u32>,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            names: vec![String::new()],
            codes: Vec::new(),
        }
    }
}

impl Labels {
    /// The label of a row, `None` for a normal one and beyond the last row.
    pub fn get(&self, row_idx: usize) -> Option<&str> {
        match self.codes.get(row_idx) {
            None | Some(0) => None,
            Some(code) => self.names.get(*code as usize).map(String::as_str),
        }
    }

    /// Appends a row's label.
    pub fn push(&mut self, label: Option<&str>) {
        let code = self.code_of(label.unwrap_or(""));
        self.codes.push(code);
    }

    fn code_of(&mut self, label: &str) -> u32 {
        // The last row's label is nearly always the next one's too, and there are few kinds.
        if let Some(idx) = self.names.iter().position(|name| name == label) {
            return idx as u32;
        }
        self.names.push(label.to_owned());
        (self.names.len() - 1) as u32
    }
}
