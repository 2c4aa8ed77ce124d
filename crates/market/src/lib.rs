//! Trades, candles, the one feature engine, the anomaly injector and the market simulator; and what all of these are
//! called and look like on the wire.
//!
//! This crate does no IO, knows no clock, no async runtime and no environment, and draws random numbers only from
//! generators seeded by its caller. Times are µs since the Unix epoch; prices and volumes are `f64`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

mod batch;
mod bits;
mod builder;
mod candle;
mod config;
mod engine;
mod event;
mod feature;
mod inject;
mod interval;
mod random;
mod rolling;
mod seen;
mod simulate;
mod time;
mod topics;
mod trade;
mod windows;
mod wire;

pub use batch::{BatchError, candles_of_trades, features_of_candles, features_of_trades};
pub use builder::{CandleBuilder, TradeOutcome};
pub use candle::{Candle, CandleError, MAX_VOLUME};
pub use config::{FeatureConfig, FeatureConfigError, ValidFeatureConfig, Violation};
pub use engine::{ENGINE_VERSION, EngineCounts, FeatureEngine, FeatureRow, SnapshotError};
pub use event::{AnomalyKind, Event, EventId, ParseAnomalyKindError};
pub use feature::{CandleField, Feature, FeatureMask, ParseFeatureError};
pub use inject::{
    ADDED_TRADE_IDS, InjectConfig, InjectConfigError, InjectError, InjectStream, InjectTarget,
    TimeRange, ValidInjectConfig, inject_candles, inject_trades,
};
pub use interval::{DAY_US, HOUR_US, Interval, IntervalError, MINUTE_US, SECOND_US};
pub use simulate::{
    Arrivals, Regime, SimulateConfig, SimulateConfigError, SimulatedCandles, SimulatedSymbol,
    SimulatedTrades, ValidSimulateConfig, simulate_candles, simulate_trades,
};
pub use topics::Topic;
pub use trade::{MAX_AMOUNT, MAX_EVENT_TIME, MIN_AMOUNT, ParseSideError, Side, Trade, TradeError};
pub use wire::{GapReason, TradeWriter, WireCandle, WireError, WireGap, WireTrade, parse_trade};
