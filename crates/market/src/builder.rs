//! Trades into candles, in event time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::bits;
use crate::candle::Candle;
use crate::event::EventId;
use crate::interval::Interval;
use crate::rolling::Sum;
use crate::seen::SeenIds;
use crate::trade::{MAX_EVENT_TIME, Side, Trade};

/// What became of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeOutcome {
    /// It is in its candle.
    Accepted,
    /// Its event time lies further behind the latest one than the allowed lateness (or in a candle that `finish` or
    /// `push_candle` closed): counted, in no candle.
    Late,
    /// A trade with this id was there already: counted, in no candle.
    Duplicate,
}

/// Trades of one symbol into the candles that are still open.
///
/// The *horizon* is the latest event time less the allowed lateness. A trade before the horizon is late; a candle closes
/// when the horizon reaches its end, so that no trade can change a closed candle.
///
/// For candles of other lengths than the one that features are computed of, beside a [`FeatureEngine`](crate::FeatureEngine)
/// that is given the same trades: with the same lateness both take and leave the same ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandleBuilder {
    interval: i64,
    lateness: i64,
    horizon: i64,
    open: VecDeque<OpenCandle>,
    seen: SeenIds,
    pub(crate) n_accepted: u64,
    pub(crate) n_late: u64,
    pub(crate) n_duplicates: u64,
}

/// Tells whether the open candles before the last one are still what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenStamp {
    newest: i64,
    pub(crate) n_before: usize,
    n_trades_before: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OpenCandle {
    start: i64,
    end: i64,
    first: (i64, Option<u64>),
    last: (i64, Option<u64>),
    #[serde(with = "bits")]
    open: f64,
    #[serde(with = "bits")]
    high: f64,
    #[serde(with = "bits")]
    low: f64,
    #[serde(with = "bits")]
    close: f64,
    volume: Sum,
    quote_volume: Sum,
    buy_volume: Sum,
    trade_count: u64,
    event: Option<EventId>,
}

impl CandleBuilder {
    /// A builder of candles of this length that takes trades up to `lateness` µs late.
    pub fn of(interval: Interval, lateness: i64) -> CandleBuilder {
        CandleBuilder::new(interval.micros(), lateness.max(0))
    }

    pub(crate) fn new(interval: i64, lateness: i64) -> CandleBuilder {
        CandleBuilder {
            interval,
            lateness,
            horizon: i64::MIN,
            open: VecDeque::new(),
            seen: SeenIds::default(),
            n_accepted: 0,
            n_late: 0,
            n_duplicates: 0,
        }
    }

    /// Whether what was stored can have been made with this configuration.
    pub(crate) fn fits(&self, interval: i64, lateness: i64) -> bool {
        let fits = |candle: &OpenCandle| {
            candle.start.abs() <= MAX_EVENT_TIME
                && candle.start.rem_euclid(interval) == 0
                && candle.end == candle.start + interval
        };
        (self.interval, self.lateness) == (interval, lateness)
            && self.open.iter().all(fits)
            && self
                .open
                .iter()
                .zip(self.open.iter().skip(1))
                .all(|(left, right)| left.end <= right.start)
            && self.seen.is_consistent()
    }

    /// The earliest event time that is not late.
    #[inline]
    pub(crate) fn horizon(&self) -> i64 {
        self.horizon
    }

    /// Start and end of the first open candle.
    pub(crate) fn first_open(&self) -> Option<(i64, i64)> {
        self.open.front().map(|candle| (candle.start, candle.end))
    }

    /// Puts a trade into its candle; it must be one ([`Trade::check`]). The second value tells whether it opened a
    /// candle.
    #[inline]
    pub fn push(&mut self, trade: &Trade) -> (TradeOutcome, bool) {
        if let Some(id) = trade.trade_id
            && !self.seen.insert(id, trade.event_time, self.horizon)
        {
            self.n_duplicates += 1;
            return (TradeOutcome::Duplicate, false);
        }
        if trade.event_time < self.horizon {
            self.n_late += 1;
            return (TradeOutcome::Late, false);
        }
        self.horizon = self.horizon.max(trade.event_time - self.lateness);
        self.n_accepted += 1;
        if let Some(candle) = self.open.back_mut()
            && trade.event_time >= candle.start
            && trade.event_time < candle.end
        {
            candle.add(trade);
            return (TradeOutcome::Accepted, false);
        }
        (TradeOutcome::Accepted, self.push_elsewhere(trade))
    }

    fn push_elsewhere(&mut self, trade: &Trade) -> bool {
        let idx = self
            .open
            .partition_point(|candle| candle.end <= trade.event_time);
        match self.open.get_mut(idx) {
            Some(candle) if candle.start <= trade.event_time => {
                candle.add(trade);
                false
            }
            _ => {
                let start = trade.event_time - trade.event_time.rem_euclid(self.interval);
                self.open
                    .insert(idx, OpenCandle::new(start, start + self.interval, trade));
                true
            }
        }
    }

    /// Moves the horizon as a trade at this event time would.
    pub(crate) fn advance(&mut self, event_time: i64) {
        self.horizon = self.horizon.max(event_time.saturating_sub(self.lateness));
    }

    /// Moves the horizon to at least this moment: what ends before it is complete, and trades from before it are late.
    pub fn close_until(&mut self, moment: i64) {
        self.horizon = self.horizon.max(moment);
    }

    /// The end of the last open candle.
    pub fn last_end(&self) -> Option<i64> {
        self.open.back().map(|candle| candle.end)
    }

    /// The last open candle as it is now, and what stands before it.
    pub(crate) fn newest(&self) -> Option<(Candle, OpenStamp)> {
        let newest = self.open.back()?;
        let before = self.open.iter().take(self.open.len() - 1);
        let stamp = OpenStamp {
            newest: newest.start,
            n_before: self.open.len() - 1,
            n_trades_before: before.map(|candle| candle.trade_count).sum(),
        };
        Some((newest.close(), stamp))
    }

    /// The open candles before the last one as they are now, in order.
    pub(crate) fn before_newest(&self) -> impl Iterator<Item = Candle> {
        let n_before = self.open.len().saturating_sub(1);
        self.open.iter().take(n_before).map(OpenCandle::close)
    }

    /// Whether the first open candle is complete.
    pub fn has_closed(&self) -> bool {
        let mut open = self.open.iter();
        open.next().is_some_and(|first| first.end <= self.horizon)
    }

    /// Takes the first open candle if it is complete.
    pub fn pop_closed(&mut self) -> Option<Candle> {
        if !self.has_closed() {
            return None;
        }
        self.open.pop_front().map(|candle| candle.close())
    }
}

impl OpenCandle {
    fn new(start: i64, end: i64, trade: &Trade) -> OpenCandle {
        let key = (trade.event_time, trade.trade_id);
        let mut candle = OpenCandle {
            start,
            end,
            first: key,
            last: key,
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            volume: Sum::default(),
            quote_volume: Sum::default(),
            buy_volume: Sum::default(),
            trade_count: 0,
            event: None,
        };
        candle.add(trade);
        candle
    }

    /// Everything here is independent of the order of arrival: open and close go by (event time, id) and only between
    /// equals by arrival, sums are exact (see [`Sum`]), and of two labels the smaller id stays.
    #[inline]
    fn add(&mut self, trade: &Trade) {
        let key = (trade.event_time, trade.trade_id);
        if key >= self.last {
            self.last = key;
            self.close = trade.price;
        } else if key < self.first {
            self.first = key;
            self.open = trade.price;
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.volume.add(trade.quantity);
        self.quote_volume.add(trade.price * trade.quantity);
        let bought = match trade.side {
            Side::Buy => trade.quantity,
            Side::Sell => 0.0,
        };
        self.buy_volume.add(bought);
        self.trade_count += 1;
        if let Some(event) = trade.event {
            self.event = Some(self.event.map_or(event, |present| present.min(event)));
        }
    }

    fn close(&self) -> Candle {
        Candle {
            open_time: self.start,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: self.volume.value(),
            quote_volume: Some(self.quote_volume.value()),
            buy_volume: Some(self.buy_volume.value()),
            trade_count: Some(self.trade_count),
            event: self.event,
        }
    }
}
