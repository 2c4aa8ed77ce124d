//! Shared by the tests: building trades and candles, and strategies for random ones.

use market::{Candle, FeatureConfig, Interval, Side, Trade, ValidFeatureConfig};
use proptest::prelude::*;

pub(crate) const SECOND: i64 = 1_000_000;

/// A small configuration whose windows fill within a few dozen candles.
pub(crate) fn small_config() -> ValidFeatureConfig {
    FeatureConfig {
        interval: Interval::TEN_SECONDS,
        window: 5,
        momentum: 3,
        max_gap: 3,
        allowed_lateness: 7 * SECOND,
        macro_window: 80 * SECOND,
        macro_baseline: 160 * SECOND,
    }
    .check()
    .unwrap()
}

pub(crate) fn trade(event_time: i64, id: u64, price: f64, quantity: f64, side: Side) -> Trade {
    Trade {
        event_time,
        trade_id: Some(id),
        price,
        quantity,
        side,
        event: None,
    }
}

pub(crate) fn candle(open_time: i64, price: f64, volume: f64) -> Candle {
    Candle {
        open_time,
        open: price,
        high: price * 1.01,
        low: price * 0.99,
        close: price,
        volume,
        quote_volume: Some(price * volume),
        buy_volume: Some(volume * 0.25),
        trade_count: Some(4),
        event: None,
    }
}

/// Trades in order of time with ascending ids: bursts, empty intervals, gaps beyond `max_gap`, constant stretches, equal
/// times.
pub(crate) fn trades(max_len: usize) -> impl Strategy<Value = Vec<Trade>> {
    let step = prop_oneof![
        10 => 0..4 * SECOND,
        2 => Just(0),
        2 => 10 * SECOND..45 * SECOND,
        1 => 45 * SECOND..200 * SECOND,
    ];
    let price = prop_oneof![3 => (9_900u32..10_100).prop_map(f64::from), 2 => Just(10_000.0), 1 => 1.0..1e6];
    let quantity =
        prop_oneof![3 => (1u32..1_000).prop_map(|lots| f64::from(lots) / 1000.0), 1 => Just(1.0)];
    (
        0..3_000_000 * SECOND,
        prop::collection::vec((step, price, quantity, any::<bool>()), 0..max_len),
    )
        .prop_map(|(start, steps)| {
            let mut time = start;
            let mut trades = Vec::new();
            for (idx, (step, price, quantity, is_buy)) in steps.into_iter().enumerate() {
                time += step;
                let side = if is_buy { Side::Buy } else { Side::Sell };
                trades.push(trade(time, idx as u64 + 1, price, quantity, side));
            }
            trades
        })
}
