//! A partition's records into closed candles and feature rows.

use std::collections::HashMap;
use std::sync::Arc;

use market::{
    Candle, CandleBuilder, CandleError, EventId, FeatureEngine, FeatureRow, Interval, Trade,
    TradeError, TradeOutcome, WireCandle, WireError, parse_trade,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bytes::{Frame, StoredError};
use crate::jump::{Held, JumpGuard, Verdict};
use crate::settings::{Settings, Source};

/// The longest symbol, in bytes.
pub const MAX_SYMBOL: usize = 64;
/// Different labels of one symbol at most; the trades of further ones count as unlabelled.
const MAX_LABELS: usize = 4_096;

/// A record as it lies in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset; ascending, perhaps with holes.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Why a record is refused.
#[derive(Debug, Error)]
pub enum Reason {
    /// It has no value.
    #[error("it has no value")]
    Empty,
    /// It is no trade.
    #[error(transparent)]
    Trade(WireError),
    /// It is no candle.
    #[error("not a candle: {0}")]
    Json(serde_json::Error),
    /// A candle that no real one is, or of another length.
    #[error(transparent)]
    Candle(CandleError),
    /// A candle of another length than the features'.
    #[error("it is a candle of `{found}`, expected `{expected}`")]
    Length {
        /// The features' interval.
        expected: Interval,
        /// The candle's.
        found: String,
    },
    /// A symbol that is too long to be one.
    #[error("its symbol has {0} bytes, at most {MAX_SYMBOL} are taken")]
    Symbol(usize),
    /// More symbols than are allowed.
    #[error("it is of a further symbol, where at most {0} are kept")]
    TooManySymbols(usize),
    /// Its time is far ahead of all others'.
    #[error("its time, {0} microseconds since the epoch, is far ahead of all others'")]
    FarAhead(i64),
}

impl Reason {
    /// A word for it, for headers and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Trade(WireError::Json(_)) | Self::Json(_) => "json",
            Self::Trade(WireError::Trade(_)) | Self::Candle(_) => "value",
            Self::Trade(_) => "member",
            Self::Length { .. } => "interval",
            Self::Symbol(_) => "symbol",
            Self::TooManySymbols(_) => "too_many_symbols",
            Self::FarAhead(_) => "far_ahead",
        }
    }
}

/// Where what comes out of a partition goes.
pub(crate) trait Sink {
    /// A candle of one of the published lengths was closed.
    fn candle(&mut self, symbol: &Arc<str>, interval: Interval, candle: &Candle);
    /// A candle of the features' length was closed (or, where `is_open`, isn't yet).
    fn row(&mut self, symbol: &Arc<str>, row: &FeatureRow, label: Option<&str>, is_open: bool);
    /// A record came too late.
    fn late(&mut self, record: &Record<'_>);
    /// A record can't be taken.
    fn refuse(&mut self, record: &Record<'_>, reason: &Reason);
}

/// Takes nothing: for records whose consequences are out already.
#[derive(Debug)]
pub(crate) struct Silence;

impl Sink for Silence {
    fn candle(&mut self, _: &Arc<str>, _: Interval, _: &Candle) {}
    fn row(&mut self, _: &Arc<str>, _: &FeatureRow, _: Option<&str>, _: bool) {}
    fn late(&mut self, _: &Record<'_>) {}
    fn refuse(&mut self, _: &Record<'_>, _: &Reason) {}
}

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
    /// In the order in which they first came.
    symbols: Vec<Symbol>,
    /// Only ever looked up: its own order never matters.
    places: HashMap<Arc<str>, usize>,
    /// The symbol of the last record; the next one is often of the same.
    recent: usize,
    counts: PartitionCounts,
    /// Reused by every record.
    rows: Vec<FeatureRow>,
}

#[derive(Debug)]
struct Symbol {
    name: Arc<str>,
    engine: FeatureEngine,
    /// Of the published lengths other than the engine's, in the settings' order.
    builders: Vec<CandleBuilder>,
    /// The kinds of labelled events; the number of an [`EventId`] less one is a place here.
    labels: Vec<String>,
    /// The partition's event time when its last record came.
    seen_at: i64,
    /// The event time of the last trade at which the open candle was judged.
    early_at: i64,
}

/// What is stored of a symbol.
#[derive(Serialize, Deserialize)]
struct StoredSymbol {
    name: String,
    engine: FeatureEngine,
    builders: Vec<CandleBuilder>,
    labels: Vec<String>,
    seen_at: i64,
    early_at: i64,
}

/// What is stored of a partition.
#[derive(Serialize, Deserialize)]
struct StoredPartition {
    settings: [u8; 32],
    next_offset: i64,
    guard: JumpGuard,
    sweep_at: i64,
    symbols: Vec<StoredSymbol>,
}

const SNAPSHOT: Frame = Frame {
    what: "snapshot",
    magic: *b"FSHP",
    version: 1,
};

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

    /// Its bytes: the same state gives the same ones.
    ///
    /// # Errors
    /// When memory for them is lacking; nothing else can go wrong.
    pub fn snapshot(&self) -> Result<Vec<u8>, StoredError> {
        #[derive(Serialize)]
        struct View<'a> {
            settings: [u8; 32],
            next_offset: i64,
            guard: &'a JumpGuard,
            sweep_at: i64,
            symbols: Vec<SymbolView<'a>>,
        }
        #[derive(Serialize)]
        struct SymbolView<'a> {
            name: &'a str,
            engine: &'a FeatureEngine,
            builders: &'a [CandleBuilder],
            labels: &'a [String],
            seen_at: i64,
            early_at: i64,
        }
        SNAPSHOT.write(&View {
            settings: self.settings.fingerprint(),
            next_offset: self.next_offset,
            guard: &self.guard,
            sweep_at: self.sweep_at,
            symbols: self
                .symbols
                .iter()
                .map(|symbol| SymbolView {
                    name: &symbol.name,
                    engine: &symbol.engine,
                    builders: &symbol.builders,
                    labels: &symbol.labels,
                    seen_at: symbol.seen_at,
                    early_at: symbol.early_at,
                })
                .collect(),
        })
    }

    /// Reads what [`snapshot`](Self::snapshot) wrote.
    ///
    /// # Errors
    /// Damaged bytes, and those made under other settings or by another version of the feature engine.
    pub fn from_snapshot(settings: Arc<Settings>, bytes: &[u8]) -> Result<Self, StoredError> {
        let stored: StoredPartition = SNAPSHOT.read(bytes)?;
        if stored.settings != settings.fingerprint() {
            return Err(StoredError::OtherSettings);
        }
        let mut partition = Self {
            next_offset: stored.next_offset,
            guard: stored.guard,
            sweep_at: stored.sweep_at,
            ..Self::new(settings)
        };
        let n_builders = partition.builders().len();
        for symbol in stored.symbols {
            let name: Arc<str> = symbol.name.into();
            let is_sound = symbol.engine.config() == &partition.settings.features
                && symbol.builders.len() == n_builders
                && !partition.places.contains_key(&name);
            if !is_sound {
                return Err(StoredError::Inconsistent("symbols"));
            }
            partition
                .places
                .insert(Arc::clone(&name), partition.symbols.len());
            partition.symbols.push(Symbol {
                name,
                engine: symbol.engine,
                builders: symbol.builders,
                labels: symbol.labels,
                seen_at: symbol.seen_at,
                early_at: symbol.early_at,
            });
        }
        Ok(partition)
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

    /// Whether a record with this time is to be taken now; what was held before it is dealt with.
    fn is_believed(&mut self, event_time: i64, record: &Record<'_>, sink: &mut impl Sink) -> bool {
        match self.guard.judge(event_time, self.settings.max_jump) {
            Verdict::Take => true,
            Verdict::TakeBoth(held) => {
                self.consider_held(&held, sink);
                true
            }
            Verdict::Refuse(held) => {
                self.refuse_held(&held, sink);
                true
            }
            Verdict::Hold(before) => {
                if let Some(held) = before {
                    self.refuse_held(&held, sink);
                }
                self.guard.hold(Held {
                    event_time,
                    offset: record.offset,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.unwrap_or_default().to_vec(),
                });
                false
            }
            Verdict::RefuseThis => {
                self.refuse(record, &Reason::FarAhead(event_time), sink);
                false
            }
        }
    }

    fn consider_held(&mut self, held: &Held, sink: &mut impl Sink) {
        self.consider(&held.record(), false, sink);
    }

    fn refuse_held(&mut self, held: &Held, sink: &mut impl Sink) {
        self.refuse(&held.record(), &Reason::FarAhead(held.event_time), sink);
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
        self.symbols.push(Symbol {
            name,
            engine: FeatureEngine::new(self.settings.features),
            builders: self.builders(),
            labels: Vec::new(),
            seen_at: i64::MIN,
            early_at: i64::MIN,
        });
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
        let symbol = &mut self.symbols[place];
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
        let symbol = &mut self.symbols[place];
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

    /// Hands on what a symbol has closed.
    fn say(&mut self, place: usize, sink: &mut impl Sink) {
        let symbol = &mut self.symbols[place];
        let interval = self.settings.features.interval();
        let lengths = self.settings.candles.iter();
        for (builder, length) in symbol
            .builders
            .iter_mut()
            .zip(lengths.filter(|length| **length != interval))
        {
            while let Some(candle) = builder.pop_closed() {
                sink.candle(&symbol.name, *length, &candle);
            }
        }
        if self.rows.is_empty() {
            return;
        }
        let is_published =
            self.settings.source == Source::Trades && self.settings.candles.contains(&interval);
        for row in self.rows.drain(..) {
            self.counts.rows += 1;
            if is_published && !row.filled {
                sink.candle(&symbol.name, interval, &row.candle);
            }
            sink.row(&symbol.name, &row, symbol.label_of(&row), false);
        }
    }

    /// Judges the candle that is still open, where that is wanted.
    fn look_early(&mut self, place: usize, event_time: i64, sink: &mut impl Sink) {
        let Some(every) = self.settings.early else {
            return;
        };
        let symbol = &mut self.symbols[place];
        if event_time < symbol.early_at.saturating_add(every) {
            return;
        }
        if let Some(row) = symbol.engine.preview() {
            symbol.early_at = event_time;
            sink.row(&symbol.name, &row, symbol.label_of(&row), true);
        }
    }

    /// Closes the candles of symbols that have fallen silent, once an interval.
    fn sweep(&mut self, time: i64, sink: &mut impl Sink) {
        if time < self.sweep_at {
            return;
        }
        let features = self.settings.features.interval().micros();
        let published = self.settings.candles.iter().map(|length| length.micros());
        let step = published.fold(features, i64::min);
        self.sweep_at = time - time.rem_euclid(step) + step;
        let idle = self.settings.idle;
        for place in 0..self.symbols.len() {
            if self.symbols[place].seen_at.saturating_add(idle) <= time {
                self.close_until(place, time - idle, sink);
            }
        }
    }

    fn close_until(&mut self, place: usize, moment: i64, sink: &mut impl Sink) {
        let symbol = &mut self.symbols[place];
        let ends = symbol.builders.iter().filter_map(CandleBuilder::last_end);
        let Some(last) = ends.chain(symbol.engine.last_end()).max() else {
            return;
        };
        // The same moment for all, so that a trade is late for all candles or for none.
        let moment = moment.min(last);
        symbol.engine.close_until(moment, &mut self.rows);
        for builder in &mut symbol.builders {
            builder.close_until(moment);
        }
        self.say(place, sink);
    }
}

impl Symbol {
    /// The event that stands for a label.
    fn event_of(&mut self, label: &str) -> Option<EventId> {
        let place = match self.labels.iter().position(|known| known == label) {
            Some(place) => place,
            None if self.labels.len() < MAX_LABELS => {
                self.labels.push(label.to_owned());
                self.labels.len() - 1
            }
            None => return None,
        };
        EventId::new(u32::try_from(place).ok()?.checked_add(1)?)
    }

    fn label_of(&self, row: &FeatureRow) -> Option<&str> {
        let place = row.candle.event?.get() as usize - 1;
        self.labels.get(place).map(String::as_str)
    }
}

impl Held {
    fn record(&self) -> Record<'_> {
        Record {
            offset: self.offset,
            key: self.key.as_deref(),
            value: Some(&self.value),
        }
    }
}
