//! The engine on real trades: a pump on Binance.

use market::{
    FeatureConfig, FeatureEngine, Interval, Side, Trade, features_of_candles, features_of_trades,
};

use crate::reference::check_against_naive;

fn pump() -> Vec<Trade> {
    include_str!("../fixtures/atmbtc-2021-09-10.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let [time, side, price, amount] = fields[..] else {
                panic!("four fields in {line}")
            };
            Trade {
                event_time: time.parse::<i64>().unwrap() * 1000,
                trade_id: None,
                price: price.parse().unwrap(),
                quantity: amount.parse().unwrap(),
                side: side.parse::<Side>().unwrap(),
                event: None,
            }
        })
        .collect()
}

#[test]
fn batch_stream_candles_and_definitions_agree() {
    let trades = pump();
    assert_eq!(trades.len(), 1500);
    for (interval, max_gap) in [
        (Interval::TEN_SECONDS, 60),
        (Interval::MINUTE, 5),
        (Interval::MINUTE, 60),
    ] {
        let config = FeatureConfig {
            window: 20,
            max_gap,
            macro_window: 30 * 60_000_000,
            macro_baseline: 60 * 60_000_000,
            ..FeatureConfig::new(interval)
        }
        .check()
        .unwrap();
        let (rows, counts) = features_of_trades(&config, &trades).unwrap();
        assert_eq!(counts.accepted, 1500);
        assert!(counts.filled > 0);
        check_against_naive(&config, &trades, &rows);

        let mut engine = FeatureEngine::new(config);
        let mut streamed = Vec::new();
        for trade in &trades {
            let bytes = serde_json::to_vec(&engine).unwrap();
            engine = serde_json::from_slice(&bytes).unwrap();
            engine.push_trade(trade, &mut streamed).unwrap();
        }
        engine.finish(&mut streamed);
        assert_eq!(rows, streamed);

        let candles: Vec<_> = rows
            .iter()
            .filter(|row| !row.filled)
            .map(|row| row.candle)
            .collect();
        assert_eq!(rows, features_of_candles(&config, &candles).unwrap().0);
    }
}
