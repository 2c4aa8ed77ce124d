use history::{
    CsvLayout, FeatureOptions, FeatureScan, HistoryError, ReadOptions, read_candles, read_trades,
};
use market::Interval;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::Folder;

/// Reads the bytes in every way; whatever comes back, nothing may panic.
fn read_every_way(name: &str, bytes: &[u8]) {
    let folder = Folder::new();
    folder.put(name, bytes);
    let objects = folder.objects(name);
    let layouts = [
        None,
        Some(CsvLayout::BinanceTrades),
        Some(CsvLayout::BinanceKlines),
        Some(CsvLayout::Ohlcv),
        Some(CsvLayout::PlainTrades),
    ];
    for layout in layouts {
        let options = ReadOptions {
            layout,
            default_symbol: Some("X".to_owned()),
            ..ReadOptions::default()
        };
        read_trades(&objects, &options).ok();
        read_candles(&objects, Interval::MINUTE, &options).ok();
    }
    if let Ok(scan) = FeatureScan::open(&objects, &FeatureOptions::default()) {
        scan.for_each_batch(|_| Ok::<(), HistoryError>(())).ok();
    }
}

/// Text that comes close to being a history file.
fn near_csv() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just(String::new()),
        "[0-9]{1,19}",
        "-?[0-9]{1,6}(\\.[0-9]{1,8})?(e-?[0-9]{1,3})?",
        "[\"'a-zé]{0,4}",
        Just("true".to_owned()),
        Just("sell".to_owned()),
        Just("NaN".to_owned()),
        Just("2018-02-30 25:61:00".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("-9223372036854775808".to_owned()),
        Just("2018-01-01".to_owned()),
    ];
    let header = prop_oneof![
        Just(String::new()),
        Just("timestamp,side,price,amount\n".to_owned()),
        Just("open_time,open,high,low,close,volume\n".to_owned()),
    ];
    let row = vec(field, 0..13).prop_map(|fields| fields.join(","));
    (header, vec(row, 0..6)).prop_map(|(header, rows)| header + &rows.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..300)) {
        for name in ["a.csv", "a.csv.gz", "a.zip", "a.parquet"] {
            read_every_way(name, &bytes);
        }
    }

    #[test]
    fn nearly_csv(text in near_csv()) {
        read_every_way("a.csv", text.as_bytes());
    }
}
