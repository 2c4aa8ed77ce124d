//! The one feature engine: trades or candles in, feature rows out.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::builder::{CandleBuilder, OpenStamp, TradeOutcome};
use crate::candle::{Candle, CandleError};
use crate::config::ValidFeatureConfig;
use crate::feature::{Feature, FeatureMask};
use crate::trade::{MAX_EVENT_TIME, Trade, TradeError};
use crate::windows::{Values, Windows};

/// Raised with every change after which the same trades may give other bits: what was stored by an engine of another
/// version must be computed anew.
pub const ENGINE_VERSION: u32 = 1;

/// A closed candle with its features.
#[derive(Debug, Clone, Copy)]
pub struct FeatureRow {
    /// The candle.
    pub candle: Candle,
    /// Whether the interval had no trade, so that the candle only carries the close forward.
    pub filled: bool,
    /// The features by [`Feature::index`]; NaN where not warm, finite where warm.
    pub values: [f64; Feature::COUNT],
    /// Which features have full windows and the candle fields they need.
    pub warm: FeatureMask,
}

impl FeatureRow {
    /// The value of a feature; NaN where it is not warm.
    pub fn value(&self, feature: Feature) -> f64 {
        self.values[feature.index()]
    }

    /// Whether all of these features are warm; a row that is not ready must not be scored.
    pub fn ready(&self, features: &[Feature]) -> bool {
        features.iter().all(|feature| self.warm.contains(*feature))
    }
}

/// Bit by bit: a NaN equals itself, 0 does not equal −0.
impl PartialEq for FeatureRow {
    fn eq(&self, other: &Self) -> bool {
        self.candle == other.candle
            && self.filled == other.filled
            && self.warm == other.warm
            && self.values.map(f64::to_bits) == other.values.map(f64::to_bits)
    }
}

/// What an engine has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EngineCounts {
    /// Trades that are in a candle.
    pub accepted: u64,
    /// Trades set aside because they came too late.
    pub late: u64,
    /// Trades dropped because their id was there already.
    pub duplicates: u64,
    /// Candles closed from trades or pushed, without the filled ones.
    pub candles: u64,
    /// Candles that carry the close forward through an interval without trades.
    pub filled: u64,
    /// Gaps longer than the configured limit, after which the windows started afresh.
    pub restarts: u64,
}

/// Computes the features of **one** symbol, trade by trade or candle by candle, in O(1) amortized time per trade and per
/// candle and in memory bounded by the windows and the lateness.
///
/// Everything is a function of the pushed sequence alone: no clock, no randomness. Rows come in order of time, one per
/// interval from the first candle to the last, except across gaps longer than `max_gap`, and they are the same bits
/// however the sequence is cut into batches, and after a snapshot (serde) was taken and resumed at any point.
///
/// **Order of trades.** The order of arrival within the allowed lateness does not change a row: open and close go by
/// (event time, trade id), and only between trades that agree in both (those without an id) by arrival. Volumes are summed
/// exactly while (trades in the candle) × (total / smallest quantity) stays below 2^53 ≈ 9e15, and to the last bit beyond.
///
/// **Late trades and duplicates.** Every pushed trade is exactly one of accepted, late, duplicate (or an error). A repeated
/// id is a duplicate even when it comes late; see [`TradeOutcome`]. Ids are remembered as runs of consecutive ids, so that
/// all of a gapless history is known exactly; where ids have holes, repeats from behind the lateness horizon may count as
/// late instead, and enter no candle either way.
///
/// **Gaps.** The rows of empty intervals are emitted as soon as no trade can fall into them any more *and* a later trade
/// has shown how long the gap is. A labelled event is never carried into a filled candle.
///
/// **Wrong clocks.** A trade from the far future is taken at its word: it moves the horizon, and true trades after it are
/// late. Whoever knows the present time must refuse such trades before they get here.
///
/// ```
/// use market::{Feature, FeatureConfig, FeatureEngine, Interval, Side, Trade};
/// let config = FeatureConfig { allowed_lateness: 0, ..FeatureConfig::new(Interval::MINUTE) }.check()?;
/// let mut engine = FeatureEngine::new(config);
/// let mut rows = Vec::new();
/// for minute in 0..3 {
///     let trade = Trade {
///         event_time: minute * 60_000_000,
///         trade_id: Some(minute as u64),
///         price: 100.0 + minute as f64,
///         quantity: 1.0,
///         side: Side::Buy,
///         event: None,
///     };
///     engine.push_trade(&trade, &mut rows)?;
/// }
/// engine.finish(&mut rows);
/// assert_eq!(rows.len(), 3);
/// assert!(!rows[0].ready(&[Feature::Return]));
/// assert_eq!(rows[1].value(Feature::Return), 101.0 / 100.0 - 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Snapshot")]
pub struct FeatureEngine {
    config: ValidFeatureConfig,
    builder: CandleBuilder,
    windows: Windows,
    /// The candle that would be carried forward into an empty interval.
    last: Option<LastCandle>,
    /// The horizon at which a candle closes or a gap is known to be one; nothing to do before.
    due: i64,
    n_candles: u64,
    n_filled: u64,
    n_restarts: u64,
    #[serde(skip)]
    ahead: Cache,
}

/// The windows as they will be when the last open candle closes, while others before it are open too: kept between
/// previews.
#[derive(Debug, Clone)]
struct Ahead {
    /// What they were made of: the open candles before, and the last closed one.
    stamp: (OpenStamp, Option<i64>),
    windows: Windows,
}

/// Something that can be made again, and so makes no difference.
#[derive(Debug, Clone, Default)]
struct Cache(Option<Box<Ahead>>);

impl PartialEq for Cache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Values {
    fn row(self, candle: &Candle, filled: bool) -> FeatureRow {
        FeatureRow {
            candle: *candle,
            filled,
            values: self.values,
            warm: self.warm,
        }
    }
}

/// A [`FeatureEngine`] as it was stored, not yet trusted.
#[derive(Deserialize)]
#[serde(rename = "FeatureEngine", deny_unknown_fields)]
struct Snapshot {
    config: ValidFeatureConfig,
    builder: CandleBuilder,
    windows: Windows,
    last: Option<LastCandle>,
    due: i64,
    n_candles: u64,
    n_filled: u64,
    n_restarts: u64,
}

/// A stored engine whose parts don't fit together: another version's, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stored feature engine's {0} don't fit its configuration")]
pub struct SnapshotError(&'static str);

impl TryFrom<Snapshot> for FeatureEngine {
    type Error = SnapshotError;

    fn try_from(snapshot: Snapshot) -> Result<Self, Self::Error> {
        let Snapshot {
            config,
            builder,
            windows,
            last,
            due,
            n_candles,
            n_filled,
            n_restarts,
        } = snapshot;
        if !builder.fits(config.interval().micros(), config.allowed_lateness()) {
            return Err(SnapshotError("open candles"));
        }
        if !windows.fits(&config) {
            return Err(SnapshotError("windows"));
        }
        if last.is_some_and(|last| !is_aligned(&config, last.open_time)) {
            return Err(SnapshotError("last candles"));
        }
        Ok(FeatureEngine {
            config,
            builder,
            windows,
            last,
            due,
            n_candles,
            n_filled,
            n_restarts,
            ahead: Cache::default(),
        })
    }
}

fn is_aligned(config: &ValidFeatureConfig, open_time: i64) -> bool {
    open_time.abs() <= MAX_EVENT_TIME && config.interval().align(open_time) == open_time
}

/// What is needed of the last candle to carry it forward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct LastCandle {
    open_time: i64,
    #[serde(with = "crate::bits")]
    close: f64,
    has_quote_volume: bool,
    has_buy_volume: bool,
    has_trade_count: bool,
}

impl FeatureEngine {
    /// An engine that has seen nothing.
    pub fn new(config: ValidFeatureConfig) -> FeatureEngine {
        FeatureEngine {
            builder: CandleBuilder::new(config.interval().micros(), config.allowed_lateness()),
            windows: Windows::new(&config),
            config,
            last: None,
            due: i64::MAX,
            n_candles: 0,
            n_filled: 0,
            n_restarts: 0,
            ahead: Cache::default(),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &ValidFeatureConfig {
        &self.config
    }

    /// Takes one trade and appends the rows of the candles that it closes.
    ///
    /// # Errors
    /// A [`TradeError`] where price, quantity or time is none; the trade is then not counted and the engine unchanged.
    #[inline]
    pub fn push_trade(
        &mut self,
        trade: &Trade,
        rows: &mut Vec<FeatureRow>,
    ) -> Result<TradeOutcome, TradeError> {
        trade.check()?;
        let (outcome, opened) = self.builder.push(trade);
        if opened || self.builder.horizon() >= self.due {
            self.emit(rows);
        }
        Ok(outcome)
    }

    /// Takes one finished candle and appends its row, after those of the empty intervals before it.
    ///
    /// # Errors
    /// A [`CandleError`] where the candle is inconsistent or does not follow the last one; the engine is then unchanged.
    pub fn push_candle(
        &mut self,
        candle: &Candle,
        rows: &mut Vec<FeatureRow>,
    ) -> Result<(), CandleError> {
        candle.check(self.config.interval())?;
        let open_time = candle.open_time;
        if let Some(last) = self.last {
            if open_time == last.open_time {
                return Err(CandleError::Duplicate { open_time });
            }
            if open_time < last.open_time {
                return Err(CandleError::OutOfOrder {
                    open_time,
                    last_open_time: last.open_time,
                });
            }
        }
        if self.builder.first_open().is_some() {
            return Err(CandleError::OpenTrades { open_time });
        }
        self.builder
            .close_until(open_time + self.config.interval().micros());
        self.settle_gap(open_time, rows);
        self.push_row(candle, rows);
        Ok(())
    }

    /// Moves event time forward without a trade, as a trade at `event_time` would: candles that this completes are
    /// closed. For symbols that have fallen silent while others go on.
    pub fn advance(&mut self, event_time: i64, rows: &mut Vec<FeatureRow>) {
        self.builder
            .advance(event_time.clamp(-MAX_EVENT_TIME, MAX_EVENT_TIME));
        if self.builder.horizon() >= self.due {
            self.emit(rows);
        }
    }

    /// Closes the open candles that end at or before this moment; trades from before it are late then. For a symbol that
    /// has fallen silent: unlike [`advance`](Self::advance) it knows of no lateness, and does nothing where no candle is
    /// open.
    pub fn close_until(&mut self, moment: i64, rows: &mut Vec<FeatureRow>) {
        if self.builder.last_end().is_some() {
            self.builder.close_until(moment);
            if self.builder.horizon() >= self.due {
                self.emit(rows);
            }
        }
    }

    /// The end of the last candle that is still open, µs since the epoch.
    pub fn last_end(&self) -> Option<i64> {
        self.builder.last_end()
    }

    /// Closes all open candles. The engine can go on; trades that belong to a closed candle are late then.
    pub fn finish(&mut self, rows: &mut Vec<FeatureRow>) {
        if let Some(end) = self.builder.last_end() {
            self.builder.close_until(end);
            self.emit(rows);
        }
    }

    /// The row of the last open candle as it would be if it closed now, after the open ones before it; `None` where no
    /// candle is open. Takes nothing in: rows that follow are the same bits with and without it, and where no trade
    /// follows it is the row that the candle gives.
    pub fn preview(&mut self) -> Option<FeatureRow> {
        let (candle, stamp) = self.builder.newest()?;
        let is_next = self.last.is_none_or(|last| {
            last.open_time + self.config.interval().micros() == candle.open_time
        });
        if stamp.n_before == 0 && is_next {
            self.ahead.0 = None;
            return Some(self.windows.preview(&candle).row(&candle, false));
        }
        let stamp = (stamp, self.last.map(|last| last.open_time));
        let ahead = match self.ahead.0.take() {
            Some(ahead) if ahead.stamp == stamp => ahead,
            _ => {
                let (mut windows, mut last) = (self.windows.clone(), self.last);
                let go_to = |windows: &mut Windows, last: &mut _, open_time| {
                    fill_gap(windows, last, &self.config, open_time, |_| ());
                };
                for before in self.builder.before_newest() {
                    go_to(&mut windows, &mut last, before.open_time);
                    windows.push(&before);
                    last = Some(LastCandle::of(&before));
                }
                go_to(&mut windows, &mut last, candle.open_time);
                Box::new(Ahead { stamp, windows })
            }
        };
        let ahead = self.ahead.0.insert(ahead);
        Some(ahead.windows.preview(&candle).row(&candle, false))
    }

    /// What it has counted.
    pub fn counts(&self) -> EngineCounts {
        EngineCounts {
            accepted: self.builder.n_accepted,
            late: self.builder.n_late,
            duplicates: self.builder.n_duplicates,
            candles: self.n_candles,
            filled: self.n_filled,
            restarts: self.n_restarts,
        }
    }

    #[inline(never)]
    fn emit(&mut self, rows: &mut Vec<FeatureRow>) {
        while let Some((start, end)) = self.builder.first_open() {
            // Before its start is reached, trades may still fill the gap before it.
            if self.builder.horizon() < start {
                self.due = if self.is_next(start) { end } else { start };
                return;
            }
            self.settle_gap(start, rows);
            let Some(candle) = self.builder.pop_closed() else {
                self.due = end;
                return;
            };
            self.push_row(&candle, rows);
        }
        self.due = i64::MAX;
    }

    fn is_next(&self, open_time: i64) -> bool {
        self.last
            .is_none_or(|last| last.open_time + self.config.interval().micros() >= open_time)
    }

    /// Fills the empty intervals before this candle, or starts afresh.
    fn settle_gap(&mut self, open_time: i64, rows: &mut Vec<FeatureRow>) {
        let n_rows = rows.len();
        let row = |row| rows.push(row);
        let config = &self.config;
        if fill_gap(&mut self.windows, &mut self.last, config, open_time, row) {
            self.n_restarts += 1;
        }
        self.n_filled += (rows.len() - n_rows) as u64;
    }

    fn push_row(&mut self, candle: &Candle, rows: &mut Vec<FeatureRow>) {
        let values = self.windows.push(candle);
        rows.push(values.row(candle, false));
        self.last = Some(LastCandle::of(candle));
        self.n_candles += 1;
    }
}

/// Fills the empty intervals before a candle that opens at this time, or, where there are too many of them, starts
/// afresh and says so.
fn fill_gap(
    windows: &mut Windows,
    last: &mut Option<LastCandle>,
    config: &ValidFeatureConfig,
    open_time: i64,
    mut row: impl FnMut(FeatureRow),
) -> bool {
    let Some(before) = *last else { return false };
    let interval = config.interval().micros();
    let n_missing = (open_time - before.open_time) / interval - 1;
    if n_missing > config.max_gap() as i64 {
        windows.clear();
        *last = None;
        return true;
    }
    for step in 1..=n_missing {
        let candle = before.carried_forward(before.open_time + step * interval);
        row(windows.push(&candle).row(&candle, true));
        *last = Some(LastCandle {
            open_time: candle.open_time,
            ..before
        });
    }
    false
}

impl LastCandle {
    fn of(candle: &Candle) -> LastCandle {
        LastCandle {
            open_time: candle.open_time,
            close: candle.close,
            has_quote_volume: candle.quote_volume.is_some(),
            has_buy_volume: candle.buy_volume.is_some(),
            has_trade_count: candle.trade_count.is_some(),
        }
    }

    /// The candle of an interval without trades after this one: the close carried forward, no volume, no event.
    fn carried_forward(&self, open_time: i64) -> Candle {
        Candle {
            open_time,
            open: self.close,
            high: self.close,
            low: self.close,
            close: self.close,
            volume: 0.0,
            quote_volume: self.has_quote_volume.then_some(0.0),
            buy_volume: self.has_buy_volume.then_some(0.0),
            trade_count: self.has_trade_count.then_some(0),
            event: None,
        }
    }
}
