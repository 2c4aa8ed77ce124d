//! One candle: what happened to one symbol in one interval.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::EventId;
use crate::interval::Interval;
use crate::time::show_time;
use crate::trade::{MAX_AMOUNT, MAX_EVENT_TIME, MIN_AMOUNT};

/// The largest volume or quote volume that counts as one.
pub const MAX_VOLUME: f64 = 1e36;

/// One candle of one symbol. What the source lacks (plain OHLCV files have neither quote volume nor buy volume nor
/// trade count) is `None`, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candle {
    /// The interval's first moment, µs since the epoch, a multiple of the interval.
    pub open_time: i64,
    /// Price of the first trade.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the last trade.
    pub close: f64,
    /// Traded quantity in the base asset.
    pub volume: f64,
    /// Traded value in the quote asset: the sum of price × quantity.
    pub quote_volume: Option<f64>,
    /// The part of `volume` that takers bought.
    pub buy_volume: Option<f64>,
    /// Number of trades.
    pub trade_count: Option<u64>,
    /// The labelled event that changed this candle; never an input of a feature.
    pub event: Option<EventId>,
}

impl Candle {
    /// Volume-weighted average price: quote volume / volume; `None` without quote volume or without any volume.
    pub fn vwap(&self) -> Option<f64> {
        match self.quote_volume {
            Some(quote_volume) if self.volume > 0.0 => Some(quote_volume / self.volume),
            _ => None,
        }
    }

    /// Checks the candle by itself: alignment, finite positive prices, low ≤ open, close ≤ high, volumes.
    ///
    /// # Errors
    /// A [`CandleError`] names the first thing that no real candle has.
    pub fn check(&self, interval: Interval) -> Result<(), CandleError> {
        let open_time = self.open_time;
        if open_time <= -MAX_EVENT_TIME || open_time >= MAX_EVENT_TIME {
            return Err(CandleError::OpenTime { open_time });
        }
        if interval.align(open_time) != open_time {
            return Err(CandleError::Misaligned {
                open_time,
                interval,
            });
        }
        for (field, value) in [
            ("open", self.open),
            ("high", self.high),
            ("low", self.low),
            ("close", self.close),
        ] {
            if !(MIN_AMOUNT..=MAX_AMOUNT).contains(&value) {
                return Err(CandleError::Value {
                    open_time,
                    field,
                    value,
                });
            }
        }
        for (field, value) in [
            ("volume", Some(self.volume)),
            ("quote_volume", self.quote_volume),
            ("buy_volume", self.buy_volume),
        ] {
            if let Some(value) = value
                && !(value == 0.0 || (MIN_AMOUNT * MIN_AMOUNT..=MAX_VOLUME).contains(&value))
            {
                return Err(CandleError::Value {
                    open_time,
                    field,
                    value,
                });
            }
        }
        if self.low > self.open.min(self.close) || self.high < self.open.max(self.close) {
            return Err(CandleError::Inconsistent {
                open_time,
                open: self.open,
                high: self.high,
                low: self.low,
                close: self.close,
            });
        }
        if let Some(buy_volume) = self.buy_volume
            && buy_volume > self.volume * (1.0 + BUY_VOLUME_SLACK)
        {
            return Err(CandleError::BuyVolume {
                open_time,
                buy_volume,
                volume: self.volume,
            });
        }
        Ok(())
    }
}

/// Files round volume and buy volume apart from each other; more than this relative excess is an error.
const BUY_VOLUME_SLACK: f64 = 1e-9;

/// Why a candle can't be taken.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CandleError {
    /// The open time is no time.
    #[error(
        "candle open time `{open_time}` is not a time in microseconds since the epoch before the year 10000"
    )]
    OpenTime {
        /// The candle's open time, µs.
        open_time: i64,
    },
    /// The open time is not a multiple of the interval.
    #[error("candle at `{}` does not start on a whole `{interval}`", show_time(*open_time))]
    Misaligned {
        /// The candle's open time, µs.
        open_time: i64,
        /// The configured interval.
        interval: Interval,
    },
    /// Not a number, infinite, or beyond any market.
    #[error("candle at `{}` has {field} `{value}`, which is not a finite number in range", show_time(*open_time))]
    Value {
        /// The candle's open time, µs.
        open_time: i64,
        /// Which value.
        field: &'static str,
        /// The value.
        value: f64,
    },
    /// Not low ≤ open, close ≤ high.
    #[error("candle at `{}` is inconsistent: open `{open}`, high `{high}`, low `{low}`, close `{close}`", show_time(*open_time))]
    Inconsistent {
        /// The candle's open time, µs.
        open_time: i64,
        /// Its open.
        open: f64,
        /// Its high.
        high: f64,
        /// Its low.
        low: f64,
        /// Its close.
        close: f64,
    },
    /// More bought than traded.
    #[error("candle at `{}` has buy volume `{buy_volume}` above its volume `{volume}`", show_time(*open_time))]
    BuyVolume {
        /// The candle's open time, µs.
        open_time: i64,
        /// Its buy volume.
        buy_volume: f64,
        /// Its volume.
        volume: f64,
    },
    /// A candle with this open time was pushed already.
    #[error("candle at `{}` was there already", show_time(*open_time))]
    Duplicate {
        /// The candle's open time, µs.
        open_time: i64,
    },
    /// It comes before the last one.
    #[error("candle at `{}` comes after the candle at `{}`", show_time(*open_time), show_time(*last_open_time))]
    OutOfOrder {
        /// The candle's open time, µs.
        open_time: i64,
        /// The open time of the last candle, µs.
        last_open_time: i64,
    },
    /// Candles can't be pushed while trades stand in open candles; `finish` closes those.
    #[error("candle at `{}` was pushed while trades in open candles wait to be closed", show_time(*open_time))]
    OpenTrades {
        /// The candle's open time, µs.
        open_time: i64,
    },
}
