//! Records as they lie in a partition, and why one is refused.

use market::{CandleError, Interval, WireError};
use thiserror::Error;

/// The longest symbol, in bytes.
pub const MAX_SYMBOL: usize = 64;

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
