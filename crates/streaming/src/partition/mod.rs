//! A partition's records into closed candles and feature rows.

mod believe;
mod close;
mod sink;
mod stored;
mod symbol;

use std::collections::HashMap;
use std::sync::Arc;

use market::{
    Candle, CandleBuilder, CandleError, FeatureEngine, FeatureRow, Interval, Trade, TradeError,
    TradeOutcome, WireCandle, parse_trade,
};
use serde::Serialize;

pub(crate) use sink::{Silence, Sink};
pub(crate) use stored::{FrozenPartition, PartitionView, StoredPartition};

use symbol::Symbol;

use crate::jump::JumpGuard;
use crate::record::{MAX_SYMBOL, Reason, Record};
use crate::settings::{Settings, Source};

/// What a partition has counted since it was made or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PartitionCounts {
    /// Records seen.
    pub records: u64,
    /// Trades or candles that were taken.
    pub accepted: u64,
    /// Those that came too late.
    pub late: u64,
    /// Those that were there already.
    pub duplicates: u64,
    /// Records that can't be taken.
    pub refused: u64,
    /// Feature rows of closed candles.
    pub rows: u64,
}

/// The state of a partition that its records alone decide.
#[derive(Debug)]
pub struct Partition {
    settings: Arc<Settings>,
    next_offset: i64,
    guard: JumpGuard,
    /// The event time from which on silent symbols are looked for again.
    sweep_at: i64,
    /// In the order in which they first came. Those that a snapshot still has to write are shared with it:
    /// [`Arc::make_mut`] leaves it what it was taken of.
    symbols: Vec<Arc<Symbol>>,
    /// Only ever looked up: its own order never matters.
    places: HashMap<Arc<str>, usize>,
    /// The symbol of the last record; the next one is often of the same.
    recent: usize,
    counts: PartitionCounts,
    /// Reused by every record.
    rows: Vec<FeatureRow>,
}

impl Partition {
    /// A partition that has seen nothing yet.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            next_offset: 0,
            guard: JumpGuard::default(),
            sweep_at: i64::MIN,
            symbols: Vec::new(),
            places: HashMap::new(),
            recent: 0,
            counts: PartitionCounts::default(),
            rows: Vec::new(),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// One more than the offset of the last record that it has seen; 0 before the first.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The largest event time that was believed, µs since the epoch.
    #[must_use]
    pub fn event_time(&self) -> Option<i64> {
        self.guard.time()
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> PartitionCounts {
        self.counts
    }

    /// How many symbols it knows.
    #[must_use]
    pub fn n_symbols(&self) -> usize {
        self.symbols.len()
    }

    /// Takes a record without saying anything: its consequences are out already.
    pub fn replay(&mut self, record: &Record<'_>) {
        self.push(record, &mut Silence);
    }

    /// Takes the next record. One whose offset was seen before is passed over.
    pub(crate) fn push(&mut self, record: &Record<'_>, sink: &mut impl Sink) {
        if record.offset < self.next_offset {
            return;
        }
        self.next_offset = record.offset + 1;
        self.counts.records += 1;
        self.consider(record, true, sink);
    }

    /// Says what is left to say where no record will follow: what is held is believed, and all candles are closed.
    pub(crate) fn finish(&mut self, sink: &mut impl Sink) {
        if let Some(held) = self.guard.release() {
            self.consider_held(&held, sink);
        }
        for place in 0..self.symbols.len() {
            self.close_until(place, i64::MAX, sink);
        }
    }

    fn consider(&mut self, record: &Record<'_>, is_guarded: bool, sink: &mut impl Sink) {
        let taken = match (record.value, self.settings.source) {
            (None, _) => Err(Reason::Empty),
            (Some(value), Source::Trades) => match parse_trade(value, record.key) {
                Ok(trade) => {
                    if is_guarded && !self.is_believed(trade.event_time, record, sink) {
                        return;
                    }
                    let label = trade.label.as_deref();
                    self.take_trade(&trade.symbol, trade.trade(), label, record, sink)
                }
                Err(error) => Err(Reason::Trade(error)),
            },
            (Some(value), Source::Candles) => match self.parse_candle(value) {
                Ok((symbol, candle)) => {
                    if is_guarded && !self.is_believed(candle.open_time, record, sink) {
                        return;
                    }
                    self.take_candle(&symbol, &candle, record, sink)
                }
                Err(reason) => Err(reason),
            },
        };
        if let Err(reason) = taken {
            self.refuse(record, &reason, sink);
        }
    }

    fn refuse(&mut self, record: &Record<'_>, reason: &Reason, sink: &mut impl Sink) {
        self.counts.refused += 1;
        sink.refuse(record, reason);
    }

    fn parse_candle(&self, value: &[u8]) -> Result<(String, Candle), Reason> {
        let wire: WireCandle = serde_json::from_slice(value).map_err(Reason::Json)?;
        let expected = self.settings.features.interval();
        if wire.interval.parse() != Ok(expected) {
            return Err(Reason::Length {
                expected,
                found: wire.interval,
            });
        }
        let candle = wire.candle();
        candle.check(expected).map_err(Reason::Candle)?;
        Ok((wire.symbol, candle))
    }

    /// The place of a symbol, which is made where it is new.
    fn place(&mut self, name: &str) -> Result<usize, Reason> {
        if let Some(symbol) = self.symbols.get(self.recent)
            && *symbol.name == *name
        {
            return Ok(self.recent);
        }
        if let Some(place) = self.places.get(name) {
            self.recent = *place;
            return Ok(*place);
        }
        if name.len() > MAX_SYMBOL {
            return Err(Reason::Symbol(name.len()));
        }
        if self.symbols.len() >= self.settings.max_symbols {
            return Err(Reason::TooManySymbols(self.settings.max_symbols));
        }
        let place = self.symbols.len();
        let name: Arc<str> = name.into();
        self.places.insert(Arc::clone(&name), place);
        self.symbols.push(Arc::new(Symbol {
            name,
            engine: FeatureEngine::new(self.settings.features),
            builders: self.builders(),
            labels: Vec::new(),
            seen_at: i64::MIN,
            early_at: i64::MIN,
        }));
        self.recent = place;
        Ok(place)
    }

    fn builders(&self) -> Vec<CandleBuilder> {
        let features = &self.settings.features;
        let of = |interval: &Interval| CandleBuilder::of(*interval, features.allowed_lateness());
        let others = self.settings.candles.iter();
        others
            .filter(|interval| **interval != features.interval())
            .map(of)
            .collect()
    }

    fn take_trade(
        &mut self,
        symbol: &str,
        mut trade: Trade,
        label: Option<&str>,
        record: &Record<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Reason> {
        let place = self.place(symbol)?;
        let time = self.guard.time().unwrap_or(trade.event_time);
        let symbol = Arc::make_mut(&mut self.symbols[place]);
        symbol.seen_at = time;
        trade.event = label.and_then(|label| symbol.event_of(label));
        let outcome = symbol
            .engine
            .push_trade(&trade, &mut self.rows)
            .map_err(|error: TradeError| Reason::Trade(error.into()))?;
        match outcome {
            TradeOutcome::Accepted => {
                self.counts.accepted += 1;
                for builder in &mut symbol.builders {
                    builder.push(&trade);
                }
            }
            TradeOutcome::Late => {
                self.counts.late += 1;
                sink.late(record);
            }
            TradeOutcome::Duplicate => self.counts.duplicates += 1,
        }
        self.say(place, sink);
        if outcome == TradeOutcome::Accepted {
            self.look_early(place, trade.event_time, sink);
        }
        self.sweep(time, sink);
        Ok(())
    }

    fn take_candle(
        &mut self,
        symbol: &str,
        candle: &Candle,
        record: &Record<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Reason> {
        let place = self.place(symbol)?;
        let symbol = Arc::make_mut(&mut self.symbols[place]);
        match symbol.engine.push_candle(candle, &mut self.rows) {
            Ok(()) => self.counts.accepted += 1,
            Err(CandleError::Duplicate { .. }) => self.counts.duplicates += 1,
            Err(CandleError::OutOfOrder { .. }) => {
                self.counts.late += 1;
                sink.late(record);
            }
            Err(error) => return Err(Reason::Candle(error)),
        }
        self.say(place, sink);
        Ok(())
    }
}
