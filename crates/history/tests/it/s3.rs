use std::time::{Duration, Instant};

use history::{
    DataObject, FeatureOptions, FeatureScan, HistoryError, Location, ReadOptions, S3Config,
    Storage, Table, fingerprint, read_candles, read_trades, write_candles, write_table,
};
use market::Interval;
use test_stack::S3Server;

use crate::{Folder, gzip, zip_of};

fn server() -> S3Server {
    let server = S3Server::start().unwrap();
    server.create_bucket("history").unwrap();
    server
}

fn storage_with(server: &S3Server, changes: &[(&str, Option<&str>)]) -> Storage {
    let mut vars = server.env();
    for (name, value) in changes {
        vars.retain(|(known, _)| known != name);
        vars.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    Storage::new(S3Config::from_vars(vars))
}

fn resolve(storage: &Storage, uri: &str) -> history::Result<Vec<DataObject>> {
    Location::parse(uri, "".as_ref())?.resolve(storage)
}

const TRADES: &str =
    "timestamp,side,price,amount\n1640970237339,sell,1.5,14.2\n1640970961505,buy,2.5,330.0\n";
const CANDLES: &str =
    "timestamp,open,high,low,close,volume\n1514764800,2,3,1,2,5\n1514764860,2,3,1,2,5\n";

#[test]
fn reads_csv_gzip_and_zip() {
    let server = server();
    server
        .put_object("history", "t/ABCDEF_1.csv", TRADES.as_bytes())
        .unwrap();
    server
        .put_object("history", "t/ABCDEF_2.csv.gz", &gzip(TRADES))
        .unwrap();
    server
        .put_object("history", "t/x/ABCDEF_3.zip", &zip_of(&[("a.csv", TRADES)]))
        .unwrap();
    server.put_object("history", "t/notes.txt", b"").unwrap();
    let storage = storage_with(&server, &[]);
    for (uri, n_files) in [
        ("s3://history/t/ABCDEF_1.csv", 1),
        ("s3://history/t/", 3),
        ("s3://history/t", 3),
        ("s3://history/t/*.csv*", 2),
        ("s3://history/**/*.zip", 1),
    ] {
        let objects = resolve(&storage, uri).unwrap();
        assert_eq!(objects.len(), n_files, "{uri}");
        let trades = read_trades(&objects, &ReadOptions::default()).unwrap();
        assert_eq!(trades[0].symbol, "ABCDEF");
        assert_eq!(trades[0].trades.len(), 2, "{uri}");
        assert_eq!(trades[0].n_duplicates, 2 * (n_files as u64 - 1));
    }
    let objects = resolve(&storage, "s3://history/t/ABCDEF_1.csv").unwrap();
    assert_eq!(objects[0].size_bytes, TRADES.len() as u64);
    assert_eq!(
        fingerprint(&objects).unwrap().objects[0].size_bytes,
        TRADES.len() as u64
    );
}

#[test]
fn parquet_makes_the_round_trip() {
    let server = server();
    let storage = storage_with(&server, &[]);
    let folder = Folder::new();
    folder.put("ABCDEF.csv", CANDLES);
    let objects = folder.objects("ABCDEF.csv");
    let candles = read_candles(&objects, Interval::MINUTE, &ReadOptions::default()).unwrap();
    let uri = "s3://history/candles/abcdef.parquet";
    assert_eq!(write_candles(&storage, uri, &candles).unwrap(), 2);
    let objects = resolve(&storage, "s3://history/candles/*.parquet").unwrap();
    let again = read_candles(&objects, Interval::MINUTE, &ReadOptions::default()).unwrap();
    assert_eq!(again, candles);

    // Large enough for an upload in parts.
    let n = 3_000_000_u64;
    let noise = |idx: u64| (idx.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64;
    let table = Table::new().number("x", (0..n).map(noise).collect());
    write_table(&storage, "s3://history/features.parquet", table).unwrap();
    let objects = resolve(&storage, "s3://history/features.parquet").unwrap();
    assert!(objects[0].size_bytes > 16 << 20);
    let scan = FeatureScan::open(&objects, &FeatureOptions::default()).unwrap();
    assert_eq!(scan.n_rows().unwrap(), n);
    let mut next = 0;
    scan.for_each_batch(|batch| {
        for value in &batch.values {
            assert_eq!(*value, noise(next));
            next += 1;
        }
        Ok::<(), HistoryError>(())
    })
    .unwrap();
    assert_eq!(next, n);
}

#[test]
fn tells_missing_from_forbidden_and_shows_no_secret() {
    let server = server();
    server
        .put_object("history", "btcusd-1m.csv", CANDLES.as_bytes())
        .unwrap();
    let good = storage_with(&server, &[]);
    let none = storage_with(
        &server,
        &[("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None)],
    );
    let wrong = storage_with(&server, &[("AWS_SECRET_ACCESS_KEY", Some("hunter2"))]);
    let unknown = storage_with(&server, &[("AWS_ACCESS_KEY_ID", Some("NOBODY"))]);
    let uri = "s3://history/btcusd-1m.csv";
    assert!(resolve(&good, uri).is_ok());

    let cases: [(&Storage, &str, &str); 8] = [
        (
            &none,
            uri,
            "no credentials for `s3://history/btcusd-1m.csv`: set AWS_ACCESS_KEY_ID",
        ),
        (
            &wrong,
            uri,
            "access to `s3://history/btcusd-1m.csv` was denied",
        ),
        (
            &wrong,
            "s3://history/*.csv",
            "access to `s3://history/*.csv` was denied",
        ),
        (
            &unknown,
            uri,
            "access to `s3://history/btcusd-1m.csv` was denied",
        ),
        (
            &good,
            "s3://history/btcusd-1h.csv",
            "`s3://history/btcusd-1h.csv` does not exist; did you mean `btcusd-1m.csv`?",
        ),
        (
            &good,
            "s3://history/none/",
            "`s3://history/none/` does not exist; there is `btcusd-1m.csv`",
        ),
        (
            &good,
            "s3://nowhere/a.csv",
            "`s3://nowhere/a.csv` does not exist; there is no bucket `nowhere`",
        ),
        (
            &good,
            "s3://history/*.parquet",
            "`s3://history/*.parquet` matches no file; there is",
        ),
    ];
    for (storage, uri, expected) in cases {
        let error = resolve(storage, uri).unwrap_err();
        assert!(
            error.to_string().starts_with(expected),
            "{error}\n{expected}"
        );
        let debug = format!("{error:?} {storage:?}");
        assert!(
            !debug.contains("hunter2") && !debug.contains(&server.secret_key),
            "{debug}"
        );
    }

    let table = || Table::new().number("x", vec![1.0]);
    let error = write_table(&wrong, "s3://history/x.parquet", table()).unwrap_err();
    assert!(
        matches!(error, HistoryError::AccessDenied { .. }),
        "{error:?}"
    );
    let error = write_table(&none, "s3://history/x.parquet", table()).unwrap_err();
    assert!(
        matches!(error, HistoryError::NoCredentials { .. }),
        "{error:?}"
    );
}

#[test]
fn parquet_that_vanishes_or_is_broken_is_named() {
    let server = server();
    let storage = storage_with(&server, &[]);
    server
        .put_object("history", "broken.parquet", b"PAR1 but not really PAR1")
        .unwrap();
    let objects = resolve(&storage, "s3://history/broken.parquet").unwrap();
    let error = FeatureScan::open(&objects, &FeatureOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("`s3://history/broken.parquet`"),
        "{error}"
    );
}

#[test]
fn a_dead_endpoint_is_reported_in_time() {
    let server = server();
    let endpoint = server.endpoint.clone();
    let storage = storage_with(&server, &[]);
    drop(server);
    let start = Instant::now();
    let error = resolve(&storage, "s3://history/a.csv").unwrap_err();
    assert!(matches!(error, HistoryError::Store { .. }), "{error:?}");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "after {:?} on {endpoint}",
        start.elapsed()
    );
}

#[test]
fn does_not_panic_inside_an_async_runtime() {
    let server = server();
    server
        .put_object("history", "ABCDEF.csv", CANDLES.as_bytes())
        .unwrap();
    let storage = storage_with(&server, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let objects = resolve(&storage, "s3://history/ABCDEF.csv").unwrap();
        let candles = read_candles(&objects, Interval::MINUTE, &ReadOptions::default()).unwrap();
        let uri = "s3://history/candles.parquet";
        write_candles(&storage, uri, &candles).unwrap();
        let objects = resolve(&storage, uri).unwrap();
        let again = read_candles(&objects, Interval::MINUTE, &ReadOptions::default()).unwrap();
        assert_eq!(again, candles);
    });
}
