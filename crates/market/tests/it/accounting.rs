//! Every trade is accepted, late, a duplicate or refused; every refusal names its reason.

use std::collections::HashSet;

use market::{
    Candle, CandleError, FeatureEngine, Side, Trade, TradeError, TradeOutcome, candles_of_trades,
    features_of_candles, features_of_trades,
};
use proptest::prelude::*;

use crate::support::{SECOND, candle, small_config, trade, trades};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Shuffled far beyond the lateness and with repeats: counted exactly as a set and a horizon say.
    #[test]
    fn late_and_duplicates_add_up(
        trades in trades(200),
        delays in prop::collection::vec(prop_oneof![3 => 0..5 * SECOND, 1 => 0..60 * SECOND], 200),
        repeats in prop::collection::vec((any::<prop::sample::Index>(), 0..30 * SECOND), 0..50),
    ) {
        let config = small_config();
        let mut arrivals: Vec<(i64, Trade)> =
            trades.iter().zip(&delays).map(|(trade, delay)| (trade.event_time + delay, *trade)).collect();
        if !trades.is_empty() {
            for (idx, delay) in &repeats {
                let trade = *idx.get(&trades);
                arrivals.push((trade.event_time + delay, trade));
            }
        }
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let mut seen = HashSet::new();
        let mut horizon = i64::MIN;
        let mut accepted: Vec<Trade> = Vec::new();
        let mut engine = FeatureEngine::new(config);
        let mut rows = Vec::new();
        for (_, trade) in &arrivals {
            let expected = if !seen.insert(trade.trade_id) {
                TradeOutcome::Duplicate
            } else if trade.event_time < horizon {
                TradeOutcome::Late
            } else {
                horizon = horizon.max(trade.event_time - config.allowed_lateness());
                accepted.push(*trade);
                TradeOutcome::Accepted
            };
            prop_assert_eq!(engine.push_trade(trade, &mut rows).unwrap(), expected);
        }
        engine.finish(&mut rows);
        let counts = engine.counts();
        prop_assert_eq!(counts.accepted, accepted.len() as u64);
        prop_assert_eq!(counts.accepted + counts.late + counts.duplicates, arrivals.len() as u64);
        prop_assert_eq!(counts.candles + counts.filled, rows.len() as u64);
        prop_assert_eq!(counts.filled, rows.iter().filter(|row| row.filled).count() as u64);
        let gaps = rows.windows(2).filter(|pair| pair[1].candle.open_time - pair[0].candle.open_time > 10 * SECOND);
        prop_assert_eq!(counts.restarts, gaps.count() as u64);
        // What was set aside has left no trace.
        accepted.sort_by_key(|trade| (trade.event_time, trade.trade_id));
        prop_assert_eq!(rows, features_of_trades(&config, &accepted).unwrap().0);
        let candles = candles_of_trades(config.interval(), config.allowed_lateness(), arrivals.iter().map(|(_, trade)| trade));
        prop_assert_eq!(candles.unwrap(), candles_of_trades(config.interval(), 0, &accepted).unwrap());
    }
}

#[test]
fn trades_without_ids_are_never_duplicates() {
    let anonymous = Trade {
        trade_id: None,
        ..trade(0, 1, 100.0, 1.0, Side::Sell)
    };
    let (rows, counts) = features_of_trades(&small_config(), &[anonymous; 3]).unwrap();
    assert_eq!((counts.accepted, counts.duplicates), (3, 0));
    assert_eq!(rows[0].candle.trade_count, Some(3));
}

#[test]
fn finish_closes_and_later_trades_of_closed_candles_are_late() {
    let mut engine = FeatureEngine::new(small_config());
    let mut rows = Vec::new();
    engine
        .push_trade(&trade(3 * SECOND, 1, 100.0, 1.0, Side::Buy), &mut rows)
        .unwrap();
    engine.finish(&mut rows);
    engine.finish(&mut rows);
    assert_eq!(rows.len(), 1);
    let push = |engine: &mut FeatureEngine, time: i64, id: u64| {
        engine
            .push_trade(&trade(time, id, 100.0, 1.0, Side::Buy), &mut Vec::new())
            .unwrap()
    };
    assert_eq!(push(&mut engine, 4 * SECOND, 2), TradeOutcome::Late);
    assert_eq!(push(&mut engine, 10 * SECOND, 3), TradeOutcome::Accepted);
}

#[test]
fn refuses_trades_that_are_none_and_stays_as_it_was() {
    let good = trade(0, 1, 100.0, 1.0, Side::Buy);
    let mut engine = FeatureEngine::new(small_config());
    let mut rows = Vec::new();
    engine.push_trade(&good, &mut rows).unwrap();
    let before = engine.clone();
    for price in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
        let error = engine
            .push_trade(
                &Trade {
                    price,
                    trade_id: Some(2),
                    ..good
                },
                &mut rows,
            )
            .unwrap_err();
        assert!(
            matches!(error, TradeError::Price(_))
                && error.to_string().contains(&format!("`{price}`"))
        );
    }
    for quantity in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        let error = engine
            .push_trade(
                &Trade {
                    quantity,
                    trade_id: Some(2),
                    ..good
                },
                &mut rows,
            )
            .unwrap_err();
        assert!(matches!(error, TradeError::Quantity(_)), "{error}");
    }
    for event_time in [i64::MIN, i64::MAX] {
        let error = engine
            .push_trade(
                &Trade {
                    event_time,
                    trade_id: Some(2),
                    ..good
                },
                &mut rows,
            )
            .unwrap_err();
        assert!(matches!(error, TradeError::EventTime(_)), "{error}");
    }
    assert_eq!(engine, before);
    let error =
        features_of_trades(&small_config(), &[good, Trade { price: 0.0, ..good }]).unwrap_err();
    assert_eq!(error.idx, 1);
}

#[test]
fn refuses_candles_by_name() {
    let good = candle(20 * SECOND, 100.0, 1.0);
    let check = |bad: Candle, matches: fn(&CandleError) -> bool| {
        let mut engine = FeatureEngine::new(small_config());
        let mut rows = Vec::new();
        engine.push_candle(&good, &mut rows).unwrap();
        let before = engine.clone();
        let error = engine.push_candle(&bad, &mut rows).unwrap_err();
        assert!(matches(&error), "{error}");
        assert_eq!((engine, rows.len()), (before, 1));
    };
    let next = Candle {
        open_time: 30 * SECOND,
        ..good
    };
    check(good, |error| matches!(error, CandleError::Duplicate { .. }));
    check(
        Candle {
            open_time: 10 * SECOND,
            ..good
        },
        |error| matches!(error, CandleError::OutOfOrder { .. }),
    );
    check(
        Candle {
            open_time: 31 * SECOND,
            ..good
        },
        |error| matches!(error, CandleError::Misaligned { .. }),
    );
    check(
        Candle {
            open_time: i64::MAX,
            ..good
        },
        |error| matches!(error, CandleError::OpenTime { .. }),
    );
    check(Candle { high: 99.0, ..next }, |error| {
        matches!(error, CandleError::Inconsistent { .. })
    });
    check(Candle { low: 100.5, ..next }, |error| {
        matches!(error, CandleError::Inconsistent { .. })
    });
    check(
        Candle {
            close: f64::NAN,
            ..next
        },
        |error| matches!(error, CandleError::Value { field: "close", .. }),
    );
    check(Candle { low: 0.0, ..next }, |error| {
        matches!(error, CandleError::Value { field: "low", .. })
    });
    check(
        Candle {
            volume: -1.0,
            ..next
        },
        |error| {
            matches!(
                error,
                CandleError::Value {
                    field: "volume",
                    ..
                }
            )
        },
    );
    check(
        Candle {
            quote_volume: Some(f64::INFINITY),
            ..next
        },
        |error| {
            matches!(
                error,
                CandleError::Value {
                    field: "quote_volume",
                    ..
                }
            )
        },
    );
    check(
        Candle {
            buy_volume: Some(1.1),
            ..next
        },
        |error| matches!(error, CandleError::BuyVolume { .. }),
    );
    assert_eq!(
        features_of_candles(&small_config(), &[good, good])
            .unwrap_err()
            .idx,
        1
    );

    let mut engine = FeatureEngine::new(small_config());
    engine
        .push_trade(&trade(0, 1, 100.0, 1.0, Side::Buy), &mut Vec::new())
        .unwrap();
    let error = engine.push_candle(&good, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CandleError::OpenTrades { .. }));
}

#[test]
fn history_as_candles_then_live_trades() {
    let mut engine = FeatureEngine::new(small_config());
    let mut rows = Vec::new();
    engine
        .push_candle(&candle(0, 100.0, 1.0), &mut rows)
        .unwrap();
    let late = engine
        .push_trade(&trade(9 * SECOND, 1, 101.0, 1.0, Side::Buy), &mut rows)
        .unwrap();
    assert_eq!(late, TradeOutcome::Late);
    engine
        .push_trade(&trade(10 * SECOND, 2, 101.0, 1.0, Side::Buy), &mut rows)
        .unwrap();
    engine.finish(&mut rows);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].value(market::Feature::Return), 101.0 / 100.0 - 1.0);
}

/// Plain OHLCV has neither quote volume, buy volume nor trade count: their features are never ready, the others are.
#[test]
fn missing_fields_keep_exactly_their_features_from_being_ready() {
    let config = small_config();
    let candles: Vec<Candle> = (0..60)
        .map(|idx| Candle {
            quote_volume: None,
            buy_volume: None,
            trade_count: None,
            ..candle(idx * 10 * SECOND, 100.0 + idx as f64, 1.0)
        })
        .filter(|candle| candle.open_time != 70 * SECOND)
        .collect();
    let (rows, counts) = features_of_candles(&config, &candles).unwrap();
    assert_eq!(counts.filled, 1);
    let last = rows.last().unwrap();
    for feature in market::Feature::ALL {
        assert_eq!(
            last.ready(&[feature]),
            feature.needs().is_empty(),
            "{feature}"
        );
    }
}

#[test]
fn the_horizon_itself_is_in_time_and_one_microsecond_before_is_late() {
    let mut engine = FeatureEngine::new(small_config());
    let mut push = |time: i64, id: u64| {
        let trade = trade(time, id, 100.0, 1.0, Side::Buy);
        engine.push_trade(&trade, &mut Vec::new()).unwrap()
    };
    assert_eq!(push(107 * SECOND, 1), TradeOutcome::Accepted);
    assert_eq!(push(100 * SECOND - 1, 2), TradeOutcome::Late);
    assert_eq!(push(100 * SECOND, 3), TradeOutcome::Accepted);
    // A repeat is a duplicate, even of a late trade and even when it comes late.
    assert_eq!(push(100 * SECOND - 1, 2), TradeOutcome::Duplicate);
    assert_eq!(push(500 * SECOND, 4), TradeOutcome::Accepted);
    assert_eq!(push(107 * SECOND, 1), TradeOutcome::Duplicate);
}
