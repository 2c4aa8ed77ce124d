//! What is evaluated, checked once at the boundary.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Most rows of one evaluation: four bins a labelled row must fit 32 bits.
const MAX_ROWS: usize = 1_000_000_000;

/// An event that some rows belong to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventInfo {
    /// Its kind, such as `price_spike`.
    pub kind: String,
    /// Its start, µs since the epoch.
    pub start: i64,
    /// Its end, µs since the epoch.
    pub end: i64,
    /// Its magnitude in whatever unit the labels have; `None` where unknown.
    pub magnitude: Option<f64>,
    /// Index of its symbol.
    pub symbol: u32,
}

/// Which rows are anomalies.
#[derive(Debug, Clone, Copy)]
pub enum Labels<'a> {
    /// One flag a row, without events: a plain labelled table.
    Rows(&'a [bool]),
    /// Rows that belong to events.
    Events {
        /// One entry a row: 0 for none, otherwise 1 + the index into `events`.
        event: &'a [u32],
        /// The events. Those without any row are counted apart and cannot be caught.
        events: &'a [EventInfo],
    },
}

/// Scored rows with flags and labels. All slices but `symbols` and `events` have one entry a row.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// Opening time of the row's candle, µs since the epoch, strictly ascending within a symbol;
    /// `None` for a table without time.
    pub time: Option<&'a [i64]>,
    /// Length of a candle, µs; rates per day and delays need it and `time`.
    pub interval_us: Option<i64>,
    /// Index of the row's symbol in `symbols`. Rows of symbols may interleave.
    pub symbol: &'a [u32],
    /// Names of the symbols.
    pub symbols: &'a [String],
    /// Higher is more anomalous; comparable across symbols (calibrated −log₁₀ tail probability),
    /// or raw for a single table. Finite.
    pub score: &'a [f64],
    /// Whether the row was flagged.
    pub flag: &'a [bool],
    /// Which rows are anomalies.
    pub labels: Labels<'a>,
}

impl<'a> Scored<'a> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.score.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.score.is_empty()
    }

    /// The events, if the labels have any.
    #[must_use]
    pub fn events(&self) -> &'a [EventInfo] {
        match self.labels {
            Labels::Rows(_) => &[],
            Labels::Events { events, .. } => events,
        }
    }

    /// Whether a row is labelled.
    pub(crate) fn is_labelled(&self, row: usize) -> bool {
        match self.labels {
            Labels::Rows(positive) => positive[row],
            Labels::Events { event, .. } => event[row] != 0,
        }
    }

    /// Index of the event of a row.
    pub(crate) fn event_of(&self, row: usize) -> Option<usize> {
        match self.labels {
            Labels::Rows(_) => None,
            Labels::Events { event, .. } => (event[row] as usize).checked_sub(1),
        }
    }

    /// Checks lengths, indices, order and finiteness; returns the rows grouped by symbol.
    pub(crate) fn check(&self) -> Result<BySymbol> {
        let n = self.len();
        if n == 0 {
            return Err(Error::Empty {
                what: "rows to evaluate",
            });
        }
        if n > MAX_ROWS {
            return Err(Error::invalid(
                "number of rows",
                n,
                "at most 1,000,000,000 are possible",
            ));
        }
        let lengths = [
            ("symbol", self.symbol.len()),
            ("flag", self.flag.len()),
            ("time", self.time.map_or(n, <[_]>::len)),
            match self.labels {
                Labels::Rows(positive) => ("positive", positive.len()),
                Labels::Events { event, .. } => ("event", event.len()),
            },
        ];
        for (what, found) in lengths {
            if found != n {
                return Err(Error::Shape {
                    what,
                    expected: n,
                    found,
                });
            }
        }
        if let Some(row) = self.score.iter().position(|s| !s.is_finite()) {
            return Err(Error::NonFinite {
                what: "score",
                row,
                column: 0,
                value: self.score[row],
            });
        }
        if let Some(interval) = self.interval_us
            && interval <= 0
        {
            return Err(Error::invalid(
                "interval_us",
                interval,
                "a positive number of microseconds is needed",
            ));
        }
        let n_symbols = self.symbols.len();
        let symbol_in_range = |symbol: u32| {
            if (symbol as usize) < n_symbols {
                Ok(())
            } else {
                Err(Error::invalid(
                    "symbol index",
                    symbol,
                    "an index into the symbol names is needed",
                ))
            }
        };
        self.symbol.iter().try_for_each(|s| symbol_in_range(*s))?;
        if let Labels::Events { event, events } = self.labels {
            events.iter().try_for_each(|e| symbol_in_range(e.symbol))?;
            for (row, event) in event.iter().enumerate() {
                let Some(index) = (*event as usize).checked_sub(1) else {
                    continue;
                };
                let Some(info) = events.get(index) else {
                    return Err(Error::invalid(
                        "event index",
                        event,
                        "0, or 1 + an index into the events, is needed",
                    ));
                };
                if info.symbol != self.symbol[row] {
                    return Err(Error::invalid(
                        "event index",
                        event,
                        "a row may only belong to an event of its own symbol",
                    ));
                }
            }
        }
        let by_symbol = BySymbol::new(self.symbol, n_symbols);
        if let Some(time) = self.time {
            for rows in by_symbol.groups() {
                for pair in rows.windows(2) {
                    let (before, after) = (time[pair[0] as usize], time[pair[1] as usize]);
                    if before >= after {
                        return Err(Error::invalid(
                            "time",
                            format!("{after} at row {} after {before}", pair[1]),
                            "times must strictly ascend within a symbol",
                        ));
                    }
                }
            }
        }
        Ok(by_symbol)
    }
}

/// Row indices grouped by symbol, in row order within each.
#[derive(Debug)]
pub(crate) struct BySymbol {
    rows: Vec<u32>,
    starts: Vec<usize>,
}

impl BySymbol {
    fn new(symbol: &[u32], n_symbols: usize) -> Self {
        let mut starts = vec![0; n_symbols + 1];
        for s in symbol {
            starts[*s as usize + 1] += 1;
        }
        for i in 0..n_symbols {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; symbol.len()];
        for (row, s) in symbol.iter().enumerate() {
            let at = &mut next[*s as usize];
            rows[*at] = row as u32;
            *at += 1;
        }
        Self { rows, starts }
    }

    /// One slice of rows a symbol, empty ones included.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|w| &self.rows[w[0]..w[1]])
    }

    /// All rows, symbol after symbol.
    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Ranges of [`rows`](Self::rows), one a symbol.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.starts.windows(2).map(|w| w[0]..w[1])
    }
}
