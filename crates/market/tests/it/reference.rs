//! The engine against the definitions, written down naively: sort, group, and two passes over every window.

use std::collections::BTreeMap;

use market::{
    Candle, Feature, FeatureRow, Side, Trade, ValidFeatureConfig, candles_of_trades,
    features_of_candles, features_of_trades,
};
use proptest::prelude::*;

use crate::support::{small_config, trades};

/// Rows of trades that are in order of time and without duplicates.
pub(crate) fn naive_rows(
    config: &ValidFeatureConfig,
    trades: &[Trade],
) -> Vec<(Candle, [Option<f64>; 16])> {
    let interval = config.interval().micros();
    let mut groups: BTreeMap<i64, Vec<Trade>> = BTreeMap::new();
    for trade in trades {
        groups
            .entry(trade.event_time.div_euclid(interval) * interval)
            .or_default()
            .push(*trade);
    }
    let mut segments: Vec<Vec<Candle>> = Vec::new();
    for (open_time, group) in groups {
        let last = segments.last().and_then(|segment| segment.last()).copied();
        match last {
            Some(last)
                if (open_time - last.open_time) / interval - 1 <= config.max_gap() as i64 =>
            {
                let segment = segments.last_mut().unwrap();
                let mut time = last.open_time + interval;
                while time < open_time {
                    segment.push(naive_candle(time, &[], last.close));
                    time += interval;
                }
                segment.push(naive_candle(open_time, &group, f64::NAN));
            }
            _ => segments.push(vec![naive_candle(open_time, &group, f64::NAN)]),
        }
    }
    let mut rows = Vec::new();
    for segment in segments {
        for t in 0..segment.len() {
            rows.push((segment[t], naive_features(config, &segment, t)));
        }
    }
    rows
}

fn naive_candle(open_time: i64, group: &[Trade], carried: f64) -> Candle {
    let prices: Vec<f64> = group.iter().map(|trade| trade.price).collect();
    Candle {
        open_time,
        open: prices.first().copied().unwrap_or(carried),
        high: prices
            .iter()
            .copied()
            .fold(if prices.is_empty() { carried } else { 0.0 }, f64::max),
        low: prices
            .iter()
            .copied()
            .fold(if prices.is_empty() { carried } else { f64::MAX }, f64::min),
        close: prices.last().copied().unwrap_or(carried),
        volume: group.iter().map(|trade| trade.quantity).sum(),
        quote_volume: Some(group.iter().map(|trade| trade.quantity * trade.price).sum()),
        buy_volume: Some(
            group
                .iter()
                .filter(|trade| trade.side == Side::Buy)
                .map(|trade| trade.quantity)
                .sum(),
        ),
        trade_count: Some(group.len() as u64),
        event: None,
    }
}

fn mean(values: &[f64]) -> f64 {
    let first = values[0];
    first + values.iter().map(|value| value - first).sum::<f64>() / values.len() as f64
}

fn sd(values: &[f64]) -> f64 {
    if values.iter().all(|value| *value == values[0]) {
        return 0.0;
    }
    let mean = mean(values);
    (values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (values.len() - 1) as f64)
        .sqrt()
}

fn zscore(value: f64, window: &[f64]) -> f64 {
    if sd(window) == 0.0 {
        0.0
    } else {
        (value - mean(window)) / sd(window)
    }
}

fn naive_features(config: &ValidFeatureConfig, candles: &[Candle], t: usize) -> [Option<f64>; 16] {
    let (w, k) = (config.window(), config.momentum());
    let (m, d) = (config.macro_candles(), config.baseline_candles());
    let now = &candles[t];
    let close: Vec<f64> = candles[..=t].iter().map(|candle| candle.close).collect();
    let volume: Vec<f64> = candles[..=t].iter().map(|candle| candle.volume).collect();
    let count: Vec<f64> = candles[..=t]
        .iter()
        .map(|candle| candle.trade_count.unwrap() as f64)
        .collect();
    let range: Vec<f64> = candles[..=t]
        .iter()
        .map(|candle| (candle.high - candle.low) / candle.low)
        .collect();
    // log_return[i] belongs to candle i + 1.
    let log_return: Vec<f64> = close
        .windows(2)
        .map(|pair| (pair[1] / pair[0]).ln())
        .collect();
    let simple: Vec<f64> = close
        .windows(2)
        .map(|pair| pair[1] / pair[0] - 1.0)
        .collect();
    let before = |values: &[f64], n: usize| (t >= n).then(|| values[t - n..t].to_vec());
    let including =
        |values: &[f64], n: usize| (values.len() >= n).then(|| values[values.len() - n..].to_vec());
    let (buy, sell) = (
        now.buy_volume.unwrap(),
        now.volume - now.buy_volume.unwrap(),
    );
    [
        (t >= 1).then(|| now.close / close[t - 1] - 1.0),
        (t >= 1).then(|| (now.close / close[t - 1]).ln()),
        Some((now.high - now.low) / now.low),
        before(&close, w).map(|window| zscore(now.close, &window)),
        (t > w).then(|| zscore(log_return[t - 1], &log_return[t - 1 - w..t - 1])),
        before(&volume, w).map(|window| zscore(now.volume, &window)),
        before(&count, w).map(|window| zscore(now.trade_count.unwrap() as f64, &window)),
        including(&close, w).map(|window| sd(&window) / mean(&window)),
        including(&volume, w).map(|window| {
            if mean(&window) > 0.0 {
                sd(&window) / mean(&window)
            } else {
                0.0
            }
        }),
        including(&log_return, w).map(|window| sd(&window)),
        (t >= w).then(|| {
            let window = &candles[t - w..t];
            let base: f64 = window.iter().map(|candle| candle.volume).sum();
            let quote: f64 = window
                .iter()
                .map(|candle| candle.quote_volume.unwrap())
                .sum();
            if base > 0.0 {
                now.close / (quote / base) - 1.0
            } else {
                0.0
            }
        }),
        Some(if now.volume > 0.0 {
            (buy - sell) / (buy + sell)
        } else {
            0.0
        }),
        (t >= k).then(|| now.close / close[t - k] - 1.0),
        including(&simple, m).map(|window| sd(&window)),
        including(&range, m).map(|window| window.iter().copied().fold(0.0, f64::max)),
        (t + 1 >= d).then(|| {
            let mean = |n: usize| volume[t + 1 - n..].iter().sum::<f64>() / n as f64;
            if mean(d) > 0.0 {
                mean(m) / mean(d)
            } else {
                1.0
            }
        }),
    ]
}

pub(crate) fn is_close(value: f64, expected: f64) -> bool {
    // The absolute part covers differences of equals, such as a return of zero plus rounding.
    (value - expected).abs() <= 1e-9 * expected.abs() + 1e-12
}

pub(crate) fn check_against_naive(
    config: &ValidFeatureConfig,
    trades: &[Trade],
    rows: &[FeatureRow],
) {
    let expected = naive_rows(config, trades);
    assert_eq!(rows.len(), expected.len());
    for (row, (candle, features)) in rows.iter().zip(expected) {
        assert_eq!(row.filled, candle.trade_count == Some(0));
        let got = row.candle;
        assert_eq!(
            (
                got.open_time,
                got.open,
                got.high,
                got.low,
                got.close,
                got.trade_count
            ),
            (
                candle.open_time,
                candle.open,
                candle.high,
                candle.low,
                candle.close,
                candle.trade_count
            )
        );
        assert!(is_close(got.volume, candle.volume), "{got:?} {candle:?}");
        assert!(
            is_close(got.quote_volume.unwrap(), candle.quote_volume.unwrap()),
            "{got:?} {candle:?}"
        );
        assert!(
            is_close(got.buy_volume.unwrap(), candle.buy_volume.unwrap()),
            "{got:?} {candle:?}"
        );
        for feature in Feature::ALL {
            let value = row.value(feature);
            match features[feature.index()] {
                None => assert!(
                    !row.ready(&[feature]) && value.is_nan(),
                    "{feature} must not be warm: {row:?}"
                ),
                Some(expected) => {
                    assert!(row.ready(&[feature]), "{feature} must be warm: {row:?}");
                    assert!(
                        is_close(value, expected),
                        "{feature}: {value} but {expected} by definition: {row:?}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_feature_is_what_its_definition_says(trades in trades(300)) {
        let config = small_config();
        let (rows, counts) = features_of_trades(&config, &trades).unwrap();
        prop_assert_eq!(counts.accepted, trades.len() as u64);
        check_against_naive(&config, &trades, &rows);
    }

    #[test]
    fn warm_up_tells_how_many_rows_are_not_ready(trades in trades(300)) {
        let config = small_config();
        let (rows, _) = features_of_trades(&config, &trades).unwrap();
        let mut since_restart = 0;
        for (idx, row) in rows.iter().enumerate() {
            let is_next = idx > 0
                && row.candle.open_time - rows[idx - 1].candle.open_time == config.interval().micros();
            since_restart = if is_next { since_restart + 1 } else { 0 };
            for feature in Feature::ALL {
                prop_assert_eq!(row.ready(&[feature]), since_restart >= feature.warm_up(&config), "{}", feature);
            }
        }
    }

    #[test]
    fn trades_and_their_candles_give_the_same_rows(trades in trades(300)) {
        let config = small_config();
        let (rows, _) = features_of_trades(&config, &trades).unwrap();
        let candles = candles_of_trades(config.interval(), config.allowed_lateness(), &trades).unwrap();
        let (from_candles, _) = features_of_candles(&config, &candles).unwrap();
        prop_assert_eq!(&rows, &from_candles);
        let closed: Vec<Candle> = rows.iter().filter(|row| !row.filled).map(|row| row.candle).collect();
        prop_assert_eq!(closed, candles);
    }
}

#[test]
fn a_constant_window_gives_exactly_zero() {
    let config = small_config();
    let mut candles: Vec<Candle> = (0..40)
        .map(|idx| crate::support::candle(idx * 10_000_000, 0.1, 0.3))
        .collect();
    candles.push(crate::support::candle(400_000_000, 7.7, 1e6));
    let (rows, _) = features_of_candles(&config, &candles).unwrap();
    for row in &rows[20..] {
        for feature in [
            Feature::PriceZscore,
            Feature::LogReturnZscore,
            Feature::VolumeZscore,
            Feature::TradeCountZscore,
        ] {
            assert_eq!(row.value(feature), 0.0, "{feature}");
        }
    }
    assert_eq!(rows[39].value(Feature::PriceStd), 0.0);
    assert_eq!(rows[39].value(Feature::Volatility), 0.0);
    assert!(rows[40].value(Feature::PriceStd) > 0.0);
}
