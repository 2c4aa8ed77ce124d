use history::{CsvLayout, ReadOptions, SymbolCandles, read_candles};
use market::{Candle, Interval};

use crate::{Folder, gzip, message, zip_of};

const KLINES: &str = "\
1738368000000,0.379,0.3795,0.3783,0.3788,434592.5,1738368059999,164695.83081,558,245241.0,92932.51355,0
1738368060000,0.3789,0.3792,0.3778,0.3782,131894.9,1738368119999,49909.59103,330,76687.3,29023.44235,0
";

const KLINES_HEADER: &str = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n";

fn kline(row: usize) -> Candle {
    let candle =
        |open_time, [open, high, low, close, volume, quote, buy]: [f64; 7], count| Candle {
            open_time,
            open,
            high,
            low,
            close,
            volume,
            quote_volume: Some(quote),
            buy_volume: Some(buy),
            trade_count: Some(count),
            event: None,
        };
    match row {
        0 => candle(
            1_738_368_000_000_000,
            [
                0.379,
                0.3795,
                0.3783,
                0.3788,
                434_592.5,
                164_695.830_81,
                245_241.0,
            ],
            558,
        ),
        _ => candle(
            1_738_368_060_000_000,
            [
                0.3789,
                0.3792,
                0.3778,
                0.3782,
                131_894.9,
                49_909.591_03,
                76_687.3,
            ],
            330,
        ),
    }
}

fn read(folder: &Folder, text: &str) -> history::Result<Vec<SymbolCandles>> {
    read_candles(
        &folder.objects(text),
        Interval::MINUTE,
        &ReadOptions::default(),
    )
}

fn refusal(content: &str) -> String {
    let folder = Folder::new();
    folder.put("ABCDEF.csv", content);
    message(&read(&folder, "ABCDEF.csv").unwrap_err(), folder.dir.path())
}

#[test]
fn reads_every_form_of_binance_klines() {
    let with_header = format!("{KLINES_HEADER}{KLINES}");
    let micros = KLINES
        .replace("1738368000000,", "1738368000000000,")
        .replace("1738368060000,", "1738368060000000,");
    let without_close_time = "\
open_time,open,high,low,close,volume,quote_volume,count,taker_buy_volume,taker_buy_quote_volume
1738368000000,0.379,0.3795,0.3783,0.3788,434592.5,164695.83081,558,245241.0,92932.51355
1738368060000,0.3789,0.3792,0.3778,0.3782,131894.9,49909.59103,330,76687.3,29023.44235
";
    for (name, content) in [
        ("ALGOUSDT-1m-2024-01.csv", KLINES.as_bytes().to_vec()),
        ("ALGOUSDT-1m-2024-02.csv", with_header.clone().into_bytes()),
        ("ALGOUSDT-1m-2025-02.csv.gz", gzip(&micros)),
        (
            "ALGOUSDT-1m-2024-03.zip",
            zip_of(&[("ALGOUSDT-1m-2024-03.csv", &with_header)]),
        ),
        ("ALGOUSDT-1m-2025-03.csv.gz", gzip(without_close_time)),
    ] {
        let folder = Folder::new();
        folder.put(name, content);
        let candles = read(&folder, name).unwrap();
        assert_eq!(candles[0].symbol, "ALGOUSDT", "{name}");
        assert_eq!(candles[0].candles, [kline(0), kline(1)], "{name}");
    }
}

#[test]
fn reads_ohlcv_in_any_column_order() {
    let folder = Folder::new();
    folder.put(
        "BTCUSD_2018.csv",
        "timestamp,open,close,high,low,volume\n1514764800000,13763,13753,13788,13752.18233851,5.13326771\n",
    );
    folder.put(
        "raw_BTCUSDT_1m.csv",
        "timestamp,open,high,low,close,volume\n2026-01-24 20:17:00,89391.58,89391.6,89391.57,89391.59,0.37558\n",
    );
    folder.put("other.csv", "1514764800,13763,13753,13788,13752,5\n");

    let candles = read(&folder, "BTCUSD_2018.csv").unwrap();
    let first = candles[0].candles[0];
    assert_eq!(first.open_time, 1_514_764_800_000_000);
    assert_eq!(
        (first.open, first.high, first.low, first.close, first.volume),
        (13763.0, 13788.0, 13_752.182_338_51, 13753.0, 5.133_267_71)
    );
    assert_eq!((first.quote_volume, first.trade_count), (None, None));

    let candles = read(&folder, "raw_BTCUSDT_1m.csv").unwrap();
    assert_eq!(candles[0].symbol, "BTCUSDT");
    let first = candles[0].candles[0];
    assert_eq!(first.open_time, 1_769_285_820_000_000);
    assert_eq!(
        (first.high, first.low, first.close),
        (89391.6, 89391.57, 89391.59)
    );

    // Without a header, six columns may be in either order: the caller must say.
    let error = read(&folder, "other.csv").unwrap_err().to_string();
    assert!(error.contains("6 columns do not tell"), "{error}");
    let options = ReadOptions {
        layout: Some(CsvLayout::Ochlv),
        default_symbol: Some("X".to_owned()),
        ..ReadOptions::default()
    };
    let candles = read_candles(&folder.objects("other.csv"), Interval::MINUTE, &options).unwrap();
    assert_eq!(candles[0].candles[0].low, 13752.0);
}

#[test]
fn refuses_bad_candles_with_their_row() {
    let header = "timestamp,open,high,low,close,volume\n1514764800,2,3,1,2,5\n";
    for (row, reason) in [
        (
            "1514764860,2,1,3,2,5",
            "is inconsistent: open `2`, high `1`, low `3`",
        ),
        ("1514764860,2,3,1,4,5", "is inconsistent"),
        ("1514764860,-2,3,1,2,5", "has open `-2`"),
        ("1514764860,2,3,1,2,-5", "has volume `-5`"),
        (
            "1514764860,2,3,1,2,inf",
            "volume `inf` is not a finite number",
        ),
        ("1514764860,2,3,1,,5", "close `` is not a number"),
        ("1514764861,2,3,1,2,5", "does not start on a whole `1m`"),
        (
            "1514764800,2,3,1,2,5",
            "its time 2018-01-01T00:00:00Z is the one of row 2",
        ),
        (
            "1514764740,2,3,1,2,5",
            "its time 2017-12-31T23:59:00Z is before 2018-01-01T00:00:00Z of row 2",
        ),
    ] {
        let text = refusal(&format!("{header}{row}\n"));
        assert!(text.starts_with("`ABCDEF.csv` row 3: "), "{text}");
        assert!(text.contains(reason), "{text}\n{reason}");
    }
    let hourly =
        "timestamp,open,high,low,close,volume\n1514764800,2,3,1,2,5\n1514768400,2,3,1,2,5\n";
    let text = refusal(hourly);
    assert!(
        text.contains("row 3: candles of `ABCDEF` lie at least `1h` apart"),
        "{text}"
    );
}

#[test]
fn merges_files_but_never_two_candles_of_one_time() {
    let header = "timestamp,open,high,low,close,volume\n";
    let folder = Folder::new();
    folder.put(
        "ABCDEF_b.csv",
        format!("{header}1514764800,2,3,1,2,5\n1514764920,2,3,1,2,5\n"),
    );
    folder.put("ABCDEF_c.csv", format!("{header}1514764860,2,3,1,2,6\n"));
    let candles = read(&folder, "*.csv").unwrap();
    let volumes: Vec<f64> = candles[0].candles.iter().map(|c| c.volume).collect();
    assert_eq!(volumes, [5.0, 6.0, 5.0]);

    folder.put("ABCDEF_a.csv", format!("{header}1514764860,2,3,1,2,7\n"));
    let error = read(&folder, "*.csv").unwrap_err();
    let text = message(&error, folder.dir.path());
    assert!(
        text.starts_with("`ABCDEF_c.csv` row 2: its time 2018-01-01T00:01:00Z of `ABCDEF` is the one of `ABCDEF_a.csv` row 2"),
        "{text}"
    );
}
