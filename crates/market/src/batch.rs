//! Whole histories through the same engine: thin loops, so that batch and stream can't differ.

use thiserror::Error;

use crate::builder::CandleBuilder;
use crate::candle::{Candle, CandleError};
use crate::config::ValidFeatureConfig;
use crate::engine::{EngineCounts, FeatureEngine, FeatureRow};
use crate::interval::Interval;
use crate::trade::{Trade, TradeError};

/// The trade or candle of a history that could not be taken.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("number {idx} of the history (counted from 0)")]
pub struct BatchError<E: std::error::Error + 'static> {
    /// Its place in the history, from 0.
    pub idx: usize,
    /// What is wrong with it.
    #[source]
    pub source: E,
}

/// The rows of all trades of one symbol, with the last candle closed.
///
/// # Errors
/// The first trade that is none.
pub fn features_of_trades<'a>(
    config: &ValidFeatureConfig,
    trades: impl IntoIterator<Item = &'a Trade>,
) -> Result<(Vec<FeatureRow>, EngineCounts), BatchError<TradeError>> {
    let mut engine = FeatureEngine::new(*config);
    let mut rows = Vec::new();
    for (idx, trade) in trades.into_iter().enumerate() {
        engine
            .push_trade(trade, &mut rows)
            .map_err(|source| BatchError { idx, source })?;
    }
    engine.finish(&mut rows);
    Ok((rows, engine.counts()))
}

/// The rows of all candles of one symbol, which must be in order of time.
///
/// # Errors
/// The first candle that is inconsistent or does not follow the one before it.
pub fn features_of_candles<'a>(
    config: &ValidFeatureConfig,
    candles: impl IntoIterator<Item = &'a Candle>,
) -> Result<(Vec<FeatureRow>, EngineCounts), BatchError<CandleError>> {
    let mut engine = FeatureEngine::new(*config);
    let mut rows = Vec::new();
    for (idx, candle) in candles.into_iter().enumerate() {
        engine
            .push_candle(candle, &mut rows)
            .map_err(|source| BatchError { idx, source })?;
    }
    engine.finish(&mut rows);
    Ok((rows, engine.counts()))
}

/// The candles of all trades of one symbol, in order of time, without carried-forward ones. Trades that lie more than
/// `allowed_lateness` µs behind, and duplicates, are left out as the engine leaves them out.
///
/// # Errors
/// The first trade that is none.
pub fn candles_of_trades<'a>(
    interval: Interval,
    allowed_lateness: i64,
    trades: impl IntoIterator<Item = &'a Trade>,
) -> Result<Vec<Candle>, BatchError<TradeError>> {
    let mut builder = CandleBuilder::new(interval.micros(), allowed_lateness);
    let mut candles = Vec::new();
    for (idx, trade) in trades.into_iter().enumerate() {
        trade.check().map_err(|source| BatchError { idx, source })?;
        if builder.push(trade).1 {
            candles.extend(std::iter::from_fn(|| builder.pop_closed()));
        }
    }
    if let Some(end) = builder.last_end() {
        builder.close_until(end);
    }
    candles.extend(std::iter::from_fn(|| builder.pop_closed()));
    Ok(candles)
}
