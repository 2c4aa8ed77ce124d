//! One closed candle as JSON.

use serde::{Deserialize, Serialize};

use crate::candle::Candle;

/// A candle's value in `kline-10s` and `kline-1m`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireCandle {
    /// The symbol; the record's key as well.
    pub symbol: String,
    /// The length, such as `1m`.
    pub interval: String,
    /// The first moment, µs since the epoch.
    pub open_time: i64,
    /// Price of the first trade.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the last trade.
    pub close: f64,
    /// Quantity in the base asset.
    pub volume: f64,
    /// Traded value in the quote asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote_volume: Option<f64>,
    /// The part of `volume` that takers bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buy_volume: Option<f64>,
    /// Number of trades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trade_count: Option<u64>,
}

impl WireCandle {
    /// A candle of a symbol on the wire; its label is left behind.
    pub fn new(
        symbol: impl Into<String>,
        interval: impl Into<String>,
        candle: &Candle,
    ) -> WireCandle {
        WireCandle {
            symbol: symbol.into(),
            interval: interval.into(),
            open_time: candle.open_time,
            open: candle.open,
            high: candle.high,
            low: candle.low,
            close: candle.close,
            volume: candle.volume,
            quote_volume: candle.quote_volume,
            buy_volume: candle.buy_volume,
            trade_count: candle.trade_count,
        }
    }

    /// The candle itself.
    pub fn candle(&self) -> Candle {
        Candle {
            open_time: self.open_time,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: self.volume,
            quote_volume: self.quote_volume,
            buy_volume: self.buy_volume,
            trade_count: self.trade_count,
            event: None,
        }
    }
}
