//! Feature rows of a market history: one engine pass over the history as it
//! is, one over the history with anomalies in it.

use market::{
    Candle, Event, EventId, Feature, FeatureConfig, FeatureEngine, FeatureRow, Trade,
    ValidFeatureConfig,
};

/// What is known of one symbol, in time order.
#[derive(Debug, Clone)]
pub enum SymbolHistory {
    /// Its trades.
    Trades(Vec<Trade>),
    /// Its candles.
    Candles(Vec<Candle>),
}

impl SymbolHistory {
    /// Number of trades or candles.
    pub fn len(&self) -> usize {
        match self {
            Self::Trades(trades) => trades.len(),
            Self::Candles(candles) => candles.len(),
        }
    }

    /// The times of the first and of the last one, µs since the epoch; both 0 where there is none.
    pub fn range(&self) -> (i64, i64) {
        let ends = match self {
            Self::Trades(trades) => trades
                .first()
                .zip(trades.last())
                .map(|(first, last)| (first.event_time, last.event_time)),
            Self::Candles(candles) => candles
                .first()
                .zip(candles.last())
                .map(|(first, last)| (first.open_time, last.open_time)),
        };
        ends.unwrap_or_default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Feature rows that can be scored, symbol by symbol, time ascending within each.
#[derive(Debug, Default)]
pub struct MarketTable {
    /// Columns per row.
    pub n_features: usize,
    /// When each row's candle opened, µs since the epoch.
    pub time: Vec<i64>,
    /// Each row's symbol.
    pub symbol: Vec<u32>,
    /// Each row's event, by its number; 0 for none.
    pub event: Vec<u32>,
    /// Row-major (n_samples, n_features).
    pub values: Vec<f64>,
    /// Every candle of each symbol, also those that can't be scored yet.
    pub candles: Vec<Vec<Candle>>,
    /// What the engine met.
    pub counts: Counts,
}

/// What the engine met on its way, over all symbols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Trades that came in; 0 where the history is candles.
    pub trades: u64,
    /// Trades that came too late and were set aside.
    pub late: u64,
    /// Trades that came twice and were dropped.
    pub duplicates: u64,
    /// Candles, those that carry a close forward among them.
    pub candles: u64,
    /// Candles that carry a close forward over an interval without trades.
    pub filled: u64,
    /// How often the windows started afresh after a long gap.
    pub restarts: u64,
    /// Candles that can't be scored because their windows weren't full.
    pub not_ready: u64,
}

impl Counts {
    /// Counts trades that were dropped before they came to the engine.
    pub fn add_duplicates(&mut self, n_dropped: u64) {
        self.trades += n_dropped;
        self.duplicates += n_dropped;
    }
}

/// The history that can't be taken by the engine.
#[derive(Debug, thiserror::Error)]
#[error("`{symbol}`, {what} {row}")]
pub struct HistoryError {
    symbol: String,
    what: &'static str,
    row: usize,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Computes the `features` of every symbol's history with one fresh engine each.
///
/// # Errors
/// The first trade or candle that the engine refuses, by symbol and position.
pub fn compute(
    history: &[(String, SymbolHistory)],
    config: &FeatureConfig,
    features: &[Feature],
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<MarketTable> {
    let config = config.check()?;
    let mut table = MarketTable {
        n_features: features.len(),
        ..MarketTable::default()
    };
    for (index, (symbol, history)) in history.iter().enumerate() {
        let index = u32::try_from(index)?;
        let candles = compute_symbol(index, symbol, history, &config, features, &mut table)?;
        table.candles.push(candles);
        step()?;
    }
    Ok(table)
}

fn compute_symbol(
    index: u32,
    symbol: &str,
    history: &SymbolHistory,
    config: &ValidFeatureConfig,
    features: &[Feature],
    table: &mut MarketTable,
) -> Result<Vec<Candle>, HistoryError> {
    let refuse = |what, row, source| HistoryError {
        symbol: symbol.to_owned(),
        what,
        row,
        source,
    };
    let mut engine = FeatureEngine::new(*config);
    let mut candles = Vec::new();
    let mut rows: Vec<FeatureRow> = Vec::new();
    let mut take = |rows: &mut Vec<FeatureRow>| {
        for row in rows.drain(..) {
            candles.push(row.candle);
            table.counts.candles += 1;
            table.counts.filled += u64::from(row.filled);
            if !row.ready(features) {
                table.counts.not_ready += 1;
                continue;
            }
            table.time.push(row.candle.open_time);
            table.symbol.push(index);
            table.event.push(row.candle.event.map_or(0, EventId::get));
            table
                .values
                .extend(features.iter().map(|feature| row.values[feature.index()]));
        }
    };
    match history {
        SymbolHistory::Trades(trades) => {
            for (row, trade) in trades.iter().enumerate() {
                engine
                    .push_trade(trade, &mut rows)
                    .map_err(|error| refuse("trade", row + 1, error.into()))?;
                take(&mut rows);
            }
            table.counts.trades += trades.len() as u64;
        }
        SymbolHistory::Candles(input) => {
            for (row, candle) in input.iter().enumerate() {
                engine
                    .push_candle(candle, &mut rows)
                    .map_err(|error| refuse("candle", row + 1, error.into()))?;
                take(&mut rows);
            }
        }
    }
    engine.finish(&mut rows);
    take(&mut rows);
    let counts = engine.counts();
    table.counts.late += counts.late;
    table.counts.duplicates += counts.duplicates;
    table.counts.restarts += counts.restarts;
    Ok(candles)
}

/// Labels what lies within known events: trades by their time, candles that overlap one. A label
/// that is there already stays.
pub fn mark_events(history: &mut [(String, SymbolHistory)], interval_us: i64, events: &[Event]) {
    for (symbol, history) in history {
        let mut own: Vec<&Event> = events
            .iter()
            .filter(|event| event.symbol == *symbol)
            .collect();
        own.sort_by_key(|event| (event.start, event.id));
        for event in own {
            match history {
                SymbolHistory::Trades(trades) => {
                    let first = trades.partition_point(|trade| trade.event_time < event.start);
                    for trade in trades[first..]
                        .iter_mut()
                        .take_while(|trade| trade.event_time < event.end)
                    {
                        trade.event = trade.event.or(Some(event.id));
                    }
                }
                SymbolHistory::Candles(candles) => {
                    let first = candles
                        .partition_point(|candle| candle.open_time + interval_us <= event.start);
                    for candle in candles[first..]
                        .iter_mut()
                        .take_while(|candle| candle.open_time < event.end)
                    {
                        candle.event = candle.event.or(Some(event.id));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::{Interval, MINUTE_US};

    fn candles(n_candles: i64) -> Vec<Candle> {
        (0..n_candles)
            .map(|minute| {
                let close = 100.0 + (minute % 7) as f64;
                Candle {
                    open_time: minute * MINUTE_US,
                    open: 100.0,
                    high: 110.0,
                    low: 99.0,
                    close,
                    volume: 1.0 + (minute % 5) as f64,
                    quote_volume: None,
                    buy_volume: None,
                    trade_count: None,
                    event: None,
                }
            })
            .collect()
    }

    #[test]
    fn only_warm_rows_are_kept_and_known_events_label_theirs() {
        let mut history = vec![("A".to_owned(), SymbolHistory::Candles(candles(200)))];
        let event = Event {
            id: EventId::new(7).unwrap(),
            symbol: "A".to_owned(),
            kind: "pump".to_owned(),
            start: 150 * MINUTE_US + 1,
            end: 152 * MINUTE_US,
            magnitude: 1.0,
        };
        mark_events(&mut history, MINUTE_US, &[event]);
        let config = FeatureConfig::new("1m".parse::<Interval>().unwrap());
        let features = [Feature::LogReturnZscore, Feature::PriceRange];
        let table = compute(&history, &config, &features, || Ok(())).unwrap();
        assert_eq!(table.counts.candles, 200);
        assert_eq!(table.time.len() as u64 + table.counts.not_ready, 200);
        assert!(table.counts.not_ready >= 60);
        assert_eq!(table.values.len(), table.time.len() * 2);
        let labelled: Vec<i64> = (0..table.time.len())
            .filter(|&row| table.event[row] == 7)
            .map(|row| table.time[row] / MINUTE_US)
            .collect();
        assert_eq!(labelled, [150, 151]);
    }

    #[test]
    fn a_refused_candle_is_named_by_symbol_and_position() {
        let mut list = candles(10);
        list[4].low = 105.0;
        let history = vec![("A".to_owned(), SymbolHistory::Candles(list))];
        let config = FeatureConfig::new("1m".parse::<Interval>().unwrap());
        let error = compute(&history, &config, &[Feature::Return], || Ok(())).unwrap_err();
        assert!(error.to_string().contains("`A`, candle 5"), "{error}");
    }
}
