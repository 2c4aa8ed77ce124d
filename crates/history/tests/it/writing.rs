use std::ops::ControlFlow;

use history::{
    FeatureBatch, FeatureOptions, FeatureScan, HistoryError, Labels, ReadOptions, SymbolCandles,
    SymbolTrades, Table, TableWriter, convert_candles, for_each_candle, read_candles, read_trades,
    write_candles, write_table, write_trades,
};
use market::{Candle, Interval, Side, Trade};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{Folder, message};

fn price() -> impl Strategy<Value = f64> {
    (any::<u64>(), -8..8_i32).prop_map(|(bits, exponent)| {
        // Every bit of the mantissa in play, the exponent within any market.
        let mantissa = 1.0 + (bits >> 12) as f64 / (1_u64 << 52) as f64;
        mantissa * 10_f64.powi(exponent)
    })
}

fn label() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![3 => Just(None), 1 => Just(Some("pump")), 1 => Just(Some("flash_crash"))]
}

fn labels_of(all: &[Option<&'static str>]) -> Labels {
    let mut labels = Labels::default();
    all.iter().for_each(|label| labels.push(*label));
    labels
}

fn trades() -> impl Strategy<Value = SymbolTrades> {
    let trade = (
        0..5_i64,
        option::of(any::<u64>()),
        price(),
        price(),
        any::<bool>(),
        label(),
    );
    vec(trade, 1..40).prop_map(|rows| {
        let mut event_time = 1_500_000_000_000_000;
        let trades = rows
            .iter()
            .map(|(step, trade_id, price, quantity, is_buy, _)| {
                event_time += step;
                Trade {
                    event_time,
                    trade_id: *trade_id,
                    price: *price,
                    quantity: *quantity,
                    side: if *is_buy { Side::Buy } else { Side::Sell },
                    event: None,
                }
            })
            .collect();
        let labels: Vec<_> = rows.iter().map(|row| row.5).collect();
        SymbolTrades {
            symbol: "ABC".to_owned(),
            trades,
            labels: Some(labels_of(&labels)),
            n_duplicates: 0,
        }
    })
}

fn candles() -> impl Strategy<Value = SymbolCandles> {
    let candle = (
        1..3_i64,
        price(),
        option::of(price()),
        option::of(any::<u64>()),
        label(),
    );
    vec(candle, 1..40).prop_map(|rows| {
        let mut minute = 25_000_000;
        let mut candles: Vec<Candle> = rows
            .iter()
            .map(|(step, price, quote_volume, trade_count, _)| {
                minute += step;
                Candle {
                    open_time: minute * 60_000_000,
                    open: *price,
                    high: price * 1.1,
                    low: price * 0.9,
                    close: price * 1.01,
                    volume: price * 3.0,
                    quote_volume: *quote_volume,
                    buy_volume: quote_volume.map(|_| *price),
                    trade_count: *trade_count,
                    event: None,
                }
            })
            .collect();
        candles.extend([1, 2].map(|step| Candle {
            // Two neighbours, whatever the gaps before, so that the interval shows.
            open_time: (minute + step) * 60_000_000,
            open: 1.0,
            high: 1.0,
            low: 1.0,
            close: 1.0,
            volume: 0.0,
            quote_volume: None,
            buy_volume: None,
            trade_count: Some(0),
            event: None,
        }));
        let labels: Vec<_> = rows
            .iter()
            .map(|row| row.4)
            .chain([None, Some("x")])
            .collect();
        SymbolCandles {
            symbol: "ABC".to_owned(),
            candles,
            labels: Some(labels_of(&labels)),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trades_come_back_bit_by_bit(trades in trades()) {
        let folder = Folder::new();
        let uri = folder.uri("t.parquet");
        let mut other = trades.clone();
        other.symbol = "ABB".to_owned();
        write_trades(&folder.storage, &uri, &[other.clone(), trades.clone()]).unwrap();
        let again = read_trades(&folder.objects("t.parquet"), &ReadOptions::default()).unwrap();
        prop_assert_eq!(again.len(), 2);
        for (again, trades) in again.iter().zip([&other, &trades]) {
            prop_assert_eq!(&again.trades, &trades.trades);
            let labels = again.labels.as_ref().unwrap();
            for idx in 0..trades.trades.len() {
                prop_assert_eq!(labels.get(idx), trades.labels.as_ref().unwrap().get(idx));
            }
        }
        let options = ReadOptions { symbols: vec!["ABB".to_owned()], ..ReadOptions::default() };
        let one = read_trades(&folder.objects("t.parquet"), &options).unwrap();
        prop_assert_eq!(one.len(), 1);
        prop_assert_eq!(&one[0].trades, &other.trades);
    }

    #[test]
    fn candles_come_back_bit_by_bit(candles in candles()) {
        let folder = Folder::new();
        let uri = folder.uri("c.parquet");
        write_candles(&folder.storage, &uri, std::slice::from_ref(&candles)).unwrap();
        let objects = folder.objects("c.parquet");
        let again = read_candles(&objects, Interval::MINUTE, &ReadOptions::default()).unwrap();
        prop_assert_eq!(&again[0].candles, &candles.candles);
        let labels = again[0].labels.as_ref().unwrap();
        for idx in 0..candles.candles.len() {
            prop_assert_eq!(labels.get(idx), candles.labels.as_ref().unwrap().get(idx));
        }
        // A range in time reads exactly its part, first bound included, last excluded.
        let times: Vec<i64> = candles.candles.iter().map(|c| c.open_time).collect();
        let (from, to) = (times[times.len() / 3], times[times.len() - 1]);
        let options = ReadOptions { from: Some(from), to: Some(to), ..ReadOptions::default() };
        let mut found = Vec::new();
        for_each_candle(&objects[0], Interval::MINUTE, &options, |row| {
            found.push(row.candle.open_time);
            ControlFlow::Continue(())
        })
        .unwrap();
        let expected: Vec<i64> = times.into_iter().filter(|t| (from..to).contains(t)).collect();
        prop_assert_eq!(found, expected);
    }
}

fn n_rows_table(rows: std::ops::Range<u64>) -> Table {
    Table::new()
        .time("open_time", rows.clone().map(|idx| idx as i64).collect())
        .text(
            "symbol",
            rows.clone()
                .map(|idx| Some(if idx % 2 == 0 { "A" } else { "B" })),
        )
        .number("x", rows.map(|idx| (idx as f64).sin()).collect())
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let folder = Folder::new();
    let n = 300_000;
    write_table(
        &folder.storage,
        &folder.uri("a.parquet"),
        n_rows_table(0..n),
    )
    .unwrap();
    let mut writer = TableWriter::create(&folder.storage, &folder.uri("b.parquet")).unwrap();
    for first in (0..n).step_by(70_001) {
        writer
            .append(n_rows_table(first..n.min(first + 70_001)))
            .unwrap();
    }
    assert_eq!(writer.finish().unwrap(), n);
    let bytes = |name| std::fs::read(folder.path(name)).unwrap();
    assert!(
        bytes("a.parquet") == bytes("b.parquet"),
        "the bytes depend on the pieces"
    );
}

#[test]
fn features_come_back_as_they_were_written() {
    let folder = Folder::new();
    let batch = FeatureBatch {
        n_rows: 3,
        time: Some(vec![5, 6, 7]),
        symbol: Some(vec![0, 1, 0]),
        symbol_names: vec!["A".to_owned(), "B".to_owned()].into(),
        label: Some(vec![0, 1, 0]),
        label_names: vec![String::new(), "pump".to_owned()].into(),
        values: vec![0.1, 1.0, 0.2, 2.0, 0.3, 3.0],
        ..FeatureBatch::default()
    };
    let columns = ["p".to_owned(), "q".to_owned()];
    let table = Table::of_features(&columns, &batch);
    assert_eq!(table.n_rows(), 3);
    write_table(&folder.storage, &folder.uri("f.parquet"), table).unwrap();
    let options = FeatureOptions {
        label: Some("label".to_owned()),
        time: Some("open_time".to_owned()),
        symbol: Some("symbol".to_owned()),
        ..FeatureOptions::default()
    };
    let scan = FeatureScan::open(&folder.objects("f.parquet"), &options).unwrap();
    assert_eq!(scan.columns(), columns);
    scan.for_each_batch(|again| {
        assert_eq!(again, batch);
        Ok::<(), HistoryError>(())
    })
    .unwrap();
}

#[test]
fn a_file_appears_complete_or_not_at_all() {
    let folder = Folder::new();
    let uri = folder.uri("new/t.parquet");
    let mut writer = TableWriter::create(&folder.storage, &uri).unwrap();
    writer.append(n_rows_table(0..10)).unwrap();
    drop(writer);
    let left: Vec<_> = std::fs::read_dir(folder.path("new")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    // A failed write leaves the old file alone.
    write_table(&folder.storage, &uri, n_rows_table(0..10)).unwrap();
    let before = std::fs::read(&uri).unwrap();
    let mut writer = TableWriter::create(&folder.storage, &uri).unwrap();
    writer.append(n_rows_table(0..5)).unwrap();
    let unequal = Table::new().number("a", vec![1.0]).number("b", vec![]);
    assert!(writer.append(unequal).is_err());
    drop(writer);
    assert_eq!(std::fs::read(&uri).unwrap(), before);

    let writer = TableWriter::create(&folder.storage, &uri).unwrap();
    assert!(matches!(
        writer.finish(),
        Err(HistoryError::InvalidContent { .. })
    ));
}

#[test]
fn refuses_to_write_what_could_not_be_read_back() {
    let folder = Folder::new();
    let trade = |event_time, price| Trade {
        event_time,
        trade_id: None,
        price,
        quantity: 1.0,
        side: Side::Buy,
        event: None,
    };
    for (trades, reason) in [
        (
            vec![trade(2, 1.0), trade(1, 1.0)],
            "trade 1 of `A`: its time is before",
        ),
        (vec![trade(2, f64::NAN)], "trade 0 of `A`: price `NaN`"),
    ] {
        let trades = SymbolTrades {
            symbol: "A".to_owned(),
            trades,
            labels: None,
            n_duplicates: 0,
        };
        let uri = folder.uri("t.parquet");
        let error = write_trades(&folder.storage, &uri, &[trades]).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!folder.path("t.parquet").exists());
    }
}

#[test]
fn an_unwritable_place_is_named() {
    let folder = Folder::new();
    folder.put("file", "");
    let uri = folder.uri("file/t.parquet");
    let error = write_table(&folder.storage, &uri, n_rows_table(0..1)).unwrap_err();
    let text = message(&error, folder.dir.path());
    assert!(
        text.starts_with("could not create `file/t.parquet`: "),
        "{text}"
    );
}

#[test]
fn converts_csv_to_parquet() {
    let folder = Folder::new();
    folder.put(
        "BTCUSD.csv",
        "timestamp,open,close,high,low,volume\n1514764800000,13763,13753,13788,13752.18233851,5.13326771\n1514764860000,13763,13772,13773,13741,15.5\n1514764920000,13763,13772,13773,13741,15.5\n",
    );
    let options = ReadOptions {
        to: Some(1_514_764_920_000_000),
        ..ReadOptions::default()
    };
    let objects = folder.objects("BTCUSD.csv");
    let uri = folder.uri("btcusd.parquet");
    let done =
        convert_candles(&objects, Interval::MINUTE, &options, &folder.storage, &uri).unwrap();
    assert_eq!((done.n_rows, done.n_symbols), (2, 1));
    let read =
        |name: &str| read_candles(&folder.objects(name), Interval::MINUTE, &options).unwrap();
    assert_eq!(read("btcusd.parquet"), read("BTCUSD.csv"));
}
