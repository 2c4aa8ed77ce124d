//! Batch and stream are the same bits, whatever the cuts; order within the lateness does not matter.

use market::{FeatureEngine, FeatureRow, Side, Trade, TradeOutcome, features_of_trades};
use proptest::prelude::*;

use crate::support::{SECOND, small_config, trade, trades};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn snapshot_and_resume_at_every_point_changes_no_bit(trades in trades(60)) {
        let config = small_config();
        let (expected, counts) = features_of_trades(&config, &trades).unwrap();
        // A new engine from the stored bytes before every single trade.
        let mut bytes = serde_json::to_vec(&FeatureEngine::new(config)).unwrap();
        let mut rows = Vec::new();
        let mut undisturbed = FeatureEngine::new(config);
        for trade in &trades {
            let mut engine: FeatureEngine = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&engine, &undisturbed);
            engine.push_trade(trade, &mut rows).unwrap();
            undisturbed.push_trade(trade, &mut Vec::new()).unwrap();
            bytes = serde_json::to_vec(&engine).unwrap();
        }
        let mut engine: FeatureEngine = serde_json::from_slice(&bytes).unwrap();
        engine.finish(&mut rows);
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(engine.counts(), counts);
    }

    #[test]
    fn chunks_change_no_bit(trades in trades(400), cuts in prop::collection::vec(1usize..50, 1..20)) {
        let config = small_config();
        let (expected, _) = features_of_trades(&config, &trades).unwrap();
        let mut engine = FeatureEngine::new(config);
        let mut rows: Vec<FeatureRow> = Vec::new();
        let mut rest = &trades[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            let mut chunk_rows = Vec::new();
            for trade in chunk {
                engine.push_trade(trade, &mut chunk_rows).unwrap();
            }
            rows.extend(chunk_rows);
            rest = after;
        }
        engine.finish(&mut rows);
        prop_assert_eq!(rows, expected);
    }

    /// Each trade is delayed by less than the allowed lateness, so none is late, and nothing may change.
    #[test]
    fn arrival_order_within_the_lateness_does_not_matter(
        trades in trades(300),
        delays in prop::collection::vec(0..7 * SECOND, 300),
    ) {
        let config = small_config();
        let (expected, _) = features_of_trades(&config, &trades).unwrap();
        let mut arrivals: Vec<(i64, Trade)> =
            trades.iter().zip(&delays).map(|(trade, delay)| (trade.event_time + delay, *trade)).collect();
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let arrived: Vec<Trade> = arrivals.into_iter().map(|(_, trade)| trade).collect();
        let (rows, counts) = features_of_trades(&config, &arrived).unwrap();
        prop_assert_eq!(counts.late, 0);
        prop_assert_eq!(rows, expected);
    }

    /// A heartbeat closes what it may close and changes no row.
    #[test]
    fn advancing_to_the_next_trade_changes_no_row(trades in trades(200)) {
        let config = small_config();
        let (expected, _) = features_of_trades(&config, &trades).unwrap();
        let mut engine = FeatureEngine::new(config);
        let mut rows = Vec::new();
        for trade in &trades {
            engine.advance(trade.event_time, &mut rows);
            prop_assert_eq!(engine.push_trade(trade, &mut rows).unwrap(), TradeOutcome::Accepted);
        }
        engine.finish(&mut rows);
        prop_assert_eq!(rows, expected);
    }
}

#[test]
fn a_candle_closes_when_the_horizon_reaches_its_end_and_not_before() {
    let mut engine = FeatureEngine::new(small_config());
    let mut rows = Vec::new();
    let mut push = |engine: &mut FeatureEngine, time: i64, id: u64| {
        engine
            .push_trade(&trade(time, id, 100.0, 1.0, Side::Buy), &mut rows)
            .unwrap();
        rows.len()
    };
    assert_eq!(push(&mut engine, 0, 1), 0);
    assert_eq!(push(&mut engine, 17 * SECOND - 1, 2), 0);
    assert_eq!(push(&mut engine, 17 * SECOND, 3), 1);
    // Two empty intervals before 40 s: known to be empty once the horizon is at 40 s.
    assert_eq!(push(&mut engine, 40 * SECOND, 4), 2);
    assert_eq!(push(&mut engine, 47 * SECOND - 1, 5), 2);
    assert_eq!(push(&mut engine, 47 * SECOND, 6), 4);
    assert_eq!(push(&mut engine, 57 * SECOND, 7), 5);
}

#[test]
fn refuses_a_snapshot_whose_parts_do_not_fit() {
    let mut engine = FeatureEngine::new(small_config());
    for id in 0..50 {
        let trade = trade(id as i64 * 4 * SECOND, id, 100.0, 1.0, Side::Buy);
        engine.push_trade(&trade, &mut Vec::new()).unwrap();
    }
    let good = serde_json::to_string(&engine).unwrap();
    assert_eq!(
        serde_json::from_str::<FeatureEngine>(&good).unwrap(),
        engine
    );
    for (part, from, to) in [
        ("windows", r#""window":5"#, r#""window":6"#),
        ("windows", r#""n_positive":5"#, r#""n_positive":4"#),
        (
            "open candles",
            r#""interval":10000000"#,
            r#""interval":20000000"#,
        ),
        (
            "open candles",
            r#""start":190000000"#,
            r#""start":190000001"#,
        ),
        (
            "last candles",
            r#""open_time":170000000"#,
            r#""open_time":170000001"#,
        ),
    ] {
        assert!(good.contains(from), "{from} in {good}");
        let error = serde_json::from_str::<FeatureEngine>(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_preview_changes_no_bit_and_is_the_row_that_comes(trades in trades(300), swaps in prop::collection::vec(0usize..299, 0..60)) {
        // Out of order by a little, so that several candles are open at once.
        let mut trades = trades;
        for swap in swaps {
            if swap + 1 < trades.len() {
                trades.swap(swap, swap + 1);
            }
        }
        let mut plain = FeatureEngine::new(small_config());
        let mut looking = FeatureEngine::new(small_config());
        let (mut expected, mut rows) = (Vec::new(), Vec::new());
        for trade in &trades {
            plain.push_trade(trade, &mut expected).unwrap();
            looking.push_trade(trade, &mut rows).unwrap();
            let preview = looking.preview();
            // What it says is what would come of closing everything now.
            let mut closed = Vec::new();
            looking.clone().finish(&mut closed);
            prop_assert_eq!(preview, closed.last().copied());
        }
        plain.finish(&mut expected);
        looking.finish(&mut rows);
        prop_assert_eq!(&rows, &expected);
        prop_assert_eq!(plain, looking);
    }
}
