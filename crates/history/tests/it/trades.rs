use history::{
    HistoryError, ReadOptions, SymbolTrades, for_each_trade, read_trades, symbols_in_order,
};
use market::Side;
use std::ops::ControlFlow;

use crate::{Folder, gzip, message, zip_of};

const SPOT: &str = "\
101,0.5,10,5.0,1704067200000,False,True
102,0.25,20,5.0,1704067200001,True,True
103,0.75,30,22.5,1704067200001,False,True
";

fn read(folder: &Folder, text: &str) -> Vec<SymbolTrades> {
    read_trades(&folder.objects(text), &ReadOptions::default()).unwrap()
}

fn refusal(name: &str, content: &str) -> String {
    let folder = Folder::new();
    folder.put(name, content);
    let error = read_trades(&folder.objects(name), &ReadOptions::default()).unwrap_err();
    message(&error, folder.dir.path())
}

/// What every form of the three trades of `SPOT` must read as.
fn check_spot(trades: &[SymbolTrades], symbol: &str) {
    let [one] = trades else {
        panic!("{} symbols", trades.len());
    };
    assert_eq!(one.symbol, symbol);
    let rows: Vec<_> = one
        .trades
        .iter()
        .map(|t| (t.trade_id, t.event_time, t.price, t.quantity, t.side))
        .collect();
    let start = 1_704_067_200_000_000;
    assert_eq!(
        rows,
        [
            (Some(101), start, 0.5, 10.0, Side::Buy),
            (Some(102), start + 1_000, 0.25, 20.0, Side::Sell),
            (Some(103), start + 1_000, 0.75, 30.0, Side::Buy),
        ]
    );
    assert_eq!(one.n_duplicates, 0);
    assert_eq!(one.labels, None);
}

#[test]
fn reads_every_form_of_binance_trades() {
    let header = "id,price,qty,quote_qty,time,is_buyer_maker\n";
    let futures: String = SPOT
        .lines()
        .map(|line| {
            line.strip_suffix(",True")
                .unwrap()
                .replace("False", "false")
                + "\n"
        })
        .collect();
    let futures = format!("{header}{}", futures.replace("True", "true"));
    let aggregated = "\
agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker
101,0.5,10,1,1,1704067200000,false
102,0.25,20,2,2,1704067200001,true
103,0.75,30,3,5,1704067200001,false
";
    let aggregated_plain: String = aggregated
        .lines()
        .skip(1)
        .map(|line| format!("{line},true\n"))
        .collect();
    let micros = SPOT
        .replace("1704067200000,", "1704067200000000,")
        .replace("1704067200001,", "1704067200001000,");
    let windows = format!("\u{feff}{}", futures.replace('\n', "\r\n"));

    for (name, content) in [
        ("BTCUSDT-trades-2024-01.csv", SPOT.as_bytes().to_vec()),
        ("BTCUSDT-trades-2024-02.csv.gz", gzip(SPOT)),
        (
            "BTCUSDT-trades-2024-03.zip",
            zip_of(&[("CHECKSUM", "x"), ("BTCUSDT-trades-2024-03.csv", SPOT)]),
        ),
        ("BTCUSDT-trades-2025-01.csv", micros.into_bytes()),
        ("BTCUSDT-trades-2024-04.csv", futures.into_bytes()),
        ("BTCUSDT-trades-2024-05.csv", windows.into_bytes()),
        ("BTCUSDT-aggTrades-2024-01.csv", aggregated.into()),
        ("BTCUSDT-aggTrades-2024-02.csv.gz", gzip(&aggregated_plain)),
    ] {
        let folder = Folder::new();
        folder.put(name, content);
        check_spot(&read(&folder, name), "BTCUSDT");
    }
}

#[test]
fn reads_plain_trades_with_a_side() {
    let folder = Folder::new();
    folder.put(
        "NEBLBTC_2022-01-02T1701.csv.gz",
        gzip("timestamp,side,price,amount\n1640970237339,sell,0.00002448,14.2\n1640970961505,buy,0.0000245,330.0\n"),
    );
    let trades = read(&folder, "*.csv.gz");
    assert_eq!(trades[0].symbol, "NEBLBTC");
    let [first, second] = trades[0].trades.as_slice() else {
        panic!("{trades:?}");
    };
    assert_eq!(first.event_time, 1_640_970_237_339_000);
    assert_eq!((first.side, second.side), (Side::Sell, Side::Buy));
    assert_eq!(
        (first.price, first.quantity, first.trade_id),
        (0.000_024_48, 14.2, None)
    );
}

#[test]
fn takes_the_symbol_from_column_folder_name_or_default() {
    let rows = "timestamp,side,price,amount\n1640970237339,sell,1,1\n";
    let with_column =
        "symbol,timestamp,side,price,amount\nBB,1640970237339,sell,1,1\nAA,1640970237338,buy,1,1\n";
    let folder = Folder::new();
    folder.put("symbol=CCC/part.csv", rows);
    folder.put("DDDUSDT.csv", rows);
    folder.put("eee.csv", rows);
    folder.put("all.csv", with_column);
    let options = ReadOptions {
        default_symbol: Some("EEE".to_owned()),
        ..ReadOptions::default()
    };
    let all = read_trades(&folder.objects("."), &options).unwrap();
    let symbols: Vec<_> = all.iter().map(|one| one.symbol.as_str()).collect();
    assert_eq!(symbols, ["AA", "BB", "CCC", "DDDUSDT", "EEE"]);

    let error = read_trades(&folder.objects("eee.csv"), &ReadOptions::default()).unwrap_err();
    assert!(message(&error, folder.dir.path()).contains("`eee.csv`: it names no symbol"));

    let options = ReadOptions {
        symbols: vec!["AA".to_owned(), "BC".to_owned()],
        ..ReadOptions::default()
    };
    let error = read_trades(&folder.objects("all.csv"), &options).unwrap_err();
    assert!(matches!(error, HistoryError::MissingSymbol { ref symbol, .. } if symbol == "BC"));
}

#[test]
fn refuses_bad_rows_with_file_line_and_reason() {
    let header = "timestamp,side,price,amount\n";
    let good = "1640970237339,sell,1,1\n";
    for (row, reason) in [
        ("1640970237340,sell,x,1", "price `x` is not a number"),
        (
            "1640970237340,sell,NaN,1",
            "price `NaN` is not a finite number",
        ),
        (
            "1640970237340,sell,inf,1",
            "price `inf` is not a finite number",
        ),
        ("1640970237340,sell,-1,1", "price `-1` is not between"),
        ("1640970237340,sell,1,0", "quantity `0` is not between"),
        ("1640970237340,sold,1,1", "unknown side `sold`"),
        ("yesterday,sell,1,1", "timestamp `yesterday` is not a time"),
        (",sell,1,1", "timestamp `` is not a time"),
        (
            "1640970237340,sell,1",
            "it has 3 fields where the first row has 4",
        ),
        (
            "1640970237338,sell,1,1",
            "its time 2021-12-31T17:03:57.338Z is before 2021-12-31T17:03:57.339Z of row 3",
        ),
    ] {
        let text = refusal("ABCDEF.csv", &format!("{header}{good}{good}{row}\n"));
        let start = format!("`ABCDEF.csv` row 4: {reason}");
        assert!(text.starts_with(&start), "{text}\n{start}");
    }
    assert_eq!(refusal("ABCDEF.csv", ""), "`ABCDEF.csv`: the file is empty");
    assert_eq!(
        refusal("ABCDEF.csv", "timestamp,side,prize,amount\n"),
        "`ABCDEF.csv` has no column `price`; did you mean `prize`?"
    );
    assert!(refusal("ABCDEF.csv", "1,2,3,4,5\n").contains("there is no header, and 5 columns"));
    assert!(refusal("ABCDEF.zip", "not a zip").contains("not a readable zip archive"));
    assert!(refusal("ABCDEF.csv.gz", "not gzip").contains("could not read `ABCDEF.csv.gz`"));
    assert!(refusal("ABCDEF.parquet", "not parquet").contains("`ABCDEF.parquet`"));
}

#[test]
fn refuses_a_cut_off_gzip_file() {
    let text: String = (0..5_000)
        .map(|idx| format!("{},sell,1.{idx},1\n", 1_640_970_237_339_u64 + idx))
        .collect();
    let packed = gzip(&format!("timestamp,side,price,amount\n{text}"));
    let folder = Folder::new();
    folder.put("ABCDEF.csv.gz", &packed[..packed.len() / 2]);
    let error = read_trades(&folder.objects("ABCDEF.csv.gz"), &ReadOptions::default()).unwrap_err();
    assert!(
        matches!(error, HistoryError::Io { action: "read", .. }),
        "{error:?}"
    );
}

#[test]
fn merges_files_and_counts_what_they_repeat() {
    let header = "timestamp,side,price,amount\n";
    let folder = Folder::new();
    // The first file has two equal trades of one moment: both are real.
    folder.put(
        "ABCDEF_1.csv",
        format!("{header}1000000000000,buy,1,1\n1000000000002,buy,2,1\n1000000000002,buy,2,1\n1000000000005,buy,5,1\n"),
    );
    folder.put(
        "ABCDEF_2.csv",
        format!("{header}1000000000002,buy,2,1\n1000000000002,buy,2,1\n1000000000003,sell,3,1\n1000000000005,buy,5,1\n1000000000005,sell,5,1\n"),
    );
    let trades = read(&folder, "*.csv");
    let prices: Vec<f64> = trades[0].trades.iter().map(|t| t.price).collect();
    assert_eq!(prices, [1.0, 2.0, 2.0, 3.0, 5.0, 5.0]);
    assert_eq!(trades[0].n_duplicates, 3);
}

#[test]
fn keeps_to_the_time_range_and_reads_labels() {
    let folder = Folder::new();
    folder.put(
        "ABCDEF.csv",
        "timestamp,side,price,amount,label\n1000000000000,buy,1,1,\n1000000000001,buy,1,1,pump\n1000000000002,buy,1,1,0\n1000000000003,buy,1,1,dump\n",
    );
    let options = ReadOptions {
        from: Some(1_000_000_000_001_000),
        to: Some(1_000_000_000_003_000),
        ..ReadOptions::default()
    };
    let trades = read_trades(&folder.objects("ABCDEF.csv"), &options).unwrap();
    let labels = trades[0].labels.as_ref().unwrap();
    assert_eq!((labels.get(0), labels.get(1)), (Some("pump"), None));
    assert_eq!(trades[0].trades.len(), 2);

    let options = ReadOptions {
        label: Some("lable".to_owned()),
        ..ReadOptions::default()
    };
    let error = read_trades(&folder.objects("ABCDEF.csv"), &options).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no column `lable`; did you mean `label`?")
    );
}

#[test]
fn a_look_at_symbols_and_times_tells_whether_rows_follow_each_other() {
    let folder = Folder::new();
    let header = "symbol,timestamp,side,price,amount\n";
    let look = |rows: &str, options: &ReadOptions| {
        folder.put("all.csv", format!("{header}{rows}"));
        symbols_in_order(&folder.objects("all.csv")[0], options).unwrap()
    };
    let all = ReadOptions::default();
    let found = Some(vec!["A".to_owned(), "B".to_owned()]);
    let in_order = "B,1000000000000,buy,1,1\nA,1000000000000,buy,1,1\nB,1000000000003,buy,1,1\n";
    assert_eq!(look(in_order, &all), found);
    // Whatever else a row holds.
    assert_eq!(look(&in_order.replace("buy,1,1", "?,x,-1"), &all), found);
    let apart = "B,1000000000003,buy,1,1\nA,1000000000000,buy,1,1\n";
    assert_eq!(look(apart, &all), None);
    for wrong in [
        "B,x,buy,1,1\n",
        ",1000000000004,buy,1,1\n",
        "B,1000000000004\n",
    ] {
        assert_eq!(look(&format!("{in_order}{wrong}"), &all), None, "{wrong}");
    }
    // What nobody asked for doesn't count.
    let one = ReadOptions {
        symbols: vec!["A".to_owned()],
        ..ReadOptions::default()
    };
    assert_eq!(look(apart, &one), Some(vec!["A".to_owned()]));
    let late = ReadOptions {
        from: Some(1_000_000_000_002_000),
        ..ReadOptions::default()
    };
    assert_eq!(look(apart, &late), Some(vec!["B".to_owned()]));
}

#[test]
fn stops_when_the_visitor_has_enough() {
    let folder = Folder::new();
    // The second row is bad, but nobody gets there.
    folder.put(
        "ABCDEF.csv",
        "timestamp,side,price,amount\n1000000000000,buy,1,1\nx,x,x,x\n",
    );
    let mut n_seen = 0;
    for_each_trade(
        &folder.objects("ABCDEF.csv")[0],
        &ReadOptions::default(),
        |row| {
            n_seen += 1;
            assert_eq!((row.symbol, row.row), ("ABCDEF", 2));
            ControlFlow::Break(())
        },
    )
    .unwrap();
    assert_eq!(n_seen, 1);
}
