//! Trades, candles and gaps as they stand in Kafka: JSON values, keyed by symbol.
//!
//! Writing a trade is done by hand, byte for byte as `serde_json` would write [`WireTrade`], since
//! it is what every trade of a feed goes through.

mod candle;
mod fast;
mod gap;
mod number;
mod trade;

pub use candle::WireCandle;
pub use gap::{GapReason, WireGap};
pub use trade::{TradeWriter, WireError, WireTrade, parse_trade};
