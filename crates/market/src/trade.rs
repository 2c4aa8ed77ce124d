//! One trade, as an exchange reports it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::EventId;

/// The smallest price or quantity that counts as one; below it the arithmetic of variances would reach denormal numbers.
pub const MIN_AMOUNT: f64 = 1e-18;
/// The largest price or quantity that counts as one; above it squares of sums could overflow.
pub const MAX_AMOUNT: f64 = 1e18;
/// Event times lie strictly between −`MAX_EVENT_TIME` and `MAX_EVENT_TIME` µs of the epoch (the end of year 9999).
pub const MAX_EVENT_TIME: i64 = 253_402_300_800_000_000;

/// Who crossed the spread: the side of the *taker*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The taker bought (Binance: `isBuyerMaker` = false).
    Buy,
    /// The taker sold (Binance: `isBuyerMaker` = true).
    Sell,
}

impl Side {
    /// `buy` or `sell`.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Side`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown side `{0}`: expected `buy` or `sell`")]
pub struct ParseSideError(String);

impl FromStr for Side {
    type Err = ParseSideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("buy") {
            Ok(Side::Buy)
        } else if text.eq_ignore_ascii_case("sell") {
            Ok(Side::Sell)
        } else {
            Err(ParseSideError(text.to_owned()))
        }
    }
}

/// One trade of one symbol.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// When the exchange matched it, in µs since the Unix epoch.
    pub event_time: i64,
    /// The exchange's id, unique within the symbol; `None` where the source has none (such a trade is never a duplicate).
    pub trade_id: Option<u64>,
    /// Price in the quote asset, from [`MIN_AMOUNT`] to [`MAX_AMOUNT`].
    pub price: f64,
    /// Quantity in the base asset, from [`MIN_AMOUNT`] to [`MAX_AMOUNT`].
    pub quantity: f64,
    /// The taker's side.
    pub side: Side,
    /// The labelled event that this trade belongs to; never an input of a feature.
    pub event: Option<EventId>,
}

/// Why a trade can't be one.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum TradeError {
    /// The price is not a number, not finite, or out of range.
    #[error("price `{0}` is not between {MIN_AMOUNT:e} and {MAX_AMOUNT:e}")]
    Price(f64),
    /// The quantity is not a number, not finite, or out of range.
    #[error("quantity `{0}` is not between {MIN_AMOUNT:e} and {MAX_AMOUNT:e}")]
    Quantity(f64),
    /// The event time lies outside ±[`MAX_EVENT_TIME`].
    #[error("event time `{0}` is not a time in microseconds since the epoch before the year 10000")]
    EventTime(i64),
}

impl Trade {
    /// Checks price, quantity and time.
    ///
    /// # Errors
    /// A [`TradeError`] names the first value that no real trade has.
    #[inline]
    pub fn check(&self) -> Result<(), TradeError> {
        if !(self.price >= MIN_AMOUNT && self.price <= MAX_AMOUNT) {
            return Err(TradeError::Price(self.price));
        }
        if !(self.quantity >= MIN_AMOUNT && self.quantity <= MAX_AMOUNT) {
            return Err(TradeError::Quantity(self.quantity));
        }
        if self.event_time <= -MAX_EVENT_TIME || self.event_time >= MAX_EVENT_TIME {
            return Err(TradeError::EventTime(self.event_time));
        }
        Ok(())
    }
}
