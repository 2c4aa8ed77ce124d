//! The archive: what the scorer saw, once, as the trainer reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use history::{FeatureOptions, FeatureScan, HistoryError, Location, S3Config, Storage};
use serde_json::Value;
use test_stack::S3Server;

use crate::support::{Bench, LONG, Running, done, kafka, records, scorer, send, values};

/// Archived rows by symbol and candle, each with a number of its own.
pub(crate) fn archived(storage: &Storage, uri: &str, column: &str) -> Vec<((String, i64), f64)> {
    let location = Location::parse(uri, Path::new("/")).unwrap();
    let Ok(objects) = location.resolve(storage) else {
        return Vec::new();
    };
    let options = FeatureOptions {
        columns: Some(vec![column.to_owned()]),
        label: Some("label".to_owned()),
        time: Some("open_time".to_owned()),
        symbol: Some("symbol".to_owned()),
        ..FeatureOptions::default()
    };
    let Ok(scan) = FeatureScan::open(&objects, &options) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let read = scan.for_each_batch(|batch| {
        let (time, symbol) = (batch.time.as_ref().unwrap(), batch.symbol.as_ref().unwrap());
        for (place, value) in batch.values.iter().enumerate() {
            let symbol = batch.symbol_names[symbol[place] as usize].clone();
            rows.push(((symbol, time[place]), *value));
        }
        Ok::<(), HistoryError>(())
    });
    read.unwrap();
    rows
}

/// How many candles the trades of a bench close.
pub(crate) fn candles_of(bench: &Bench) -> usize {
    let output = done(
        scorer()
            .arg("replay")
            .arg(bench.path("trades.parquet"))
            .args(["--output", "json", "--model"])
            .arg(bench.path("model")),
    );
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    usize::try_from(summary["candles"].as_u64().unwrap()).unwrap()
}

#[test]
fn killed_again_and_again_it_archives_every_row_once() {
    let kafka = kafka();
    let s3 = S3Server::start().unwrap();
    s3.create_bucket("archive").unwrap();
    let storage = Storage::new(S3Config::from_vars(s3.env()));
    let bench = Bench::new(41, 120);
    let prefix = "archived.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 2).unwrap();
    let more = "[archive]\nlocation = \"s3://archive/rows\"\nevery = \"1s\"\nrows = 300\n";
    let configure = |instance: &str| {
        let path = bench.configure(&kafka, instance, more);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace(
            "[kafka]\n",
            &format!("[kafka]\ntopic_prefix = \"{prefix}\"\n"),
        );
        std::fs::write(&path, text).unwrap();
        path
    };
    let (first, second) = (configure("archiving"), configure("archiving-too"));
    let all = records(&bench.symbols);
    let variables = s3.env();
    let mut other: Option<Running> = None;
    for (round, piece) in (0_u64..).zip(all.chunks(all.len().div_ceil(6))) {
        let running = Running::start_with(&first, &variables);
        match (round % 4, other.take()) {
            (1, None) => other = Some(Running::start_with(&second, &variables)),
            (3, Some(leaving)) => assert_eq!(leaving.stop(), Some(0)),
            (_, kept) => other = kept,
        }
        send(&kafka, &topic, piece);
        // At another moment each time: before it has joined, while it collects, while it writes.
        std::thread::sleep(Duration::from_millis(2_500 + 900 * (round % 5)));
        running.kill();
    }
    drop(other);
    let running = Running::start_with(&first, &variables);
    let n_candles = candles_of(&bench);
    let published = values(&kafka, &format!("{prefix}features"), n_candles, &[&running]);
    let mut scored = BTreeMap::new();
    let mut unscored = BTreeMap::new();
    for row in &published {
        let row: Value = serde_json::from_str(row).unwrap();
        let symbol = row["symbol"].as_str().unwrap().to_owned();
        let key = (symbol, row["open_time"].as_i64().unwrap());
        match row["score"].as_f64() {
            Some(score) => scored.insert(key, score),
            None => unscored.insert(key, row["close"].as_f64().unwrap()),
        };
    }
    assert!(scored.len() > 1_000 && !unscored.is_empty());
    let began = Instant::now();
    let (found, cold) = loop {
        let found = archived(&storage, "s3://archive/rows/scored", "score");
        let cold = archived(&storage, "s3://archive/rows/unscored", "close");
        if found.len() >= scored.len() && cold.len() >= unscored.len() {
            break (found, cold);
        }
        assert!(
            began.elapsed() < LONG,
            "{} of {} rows: {}",
            found.len(),
            scored.len(),
            running.log()
        );
        std::thread::sleep(Duration::from_millis(300));
    };
    // None lost, none doubled, none changed.
    assert_eq!((found.len(), cold.len()), (scored.len(), unscored.len()));
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), scored);
    assert_eq!(cold.into_iter().collect::<BTreeMap<_, _>>(), unscored);
    assert_eq!(running.stop(), Some(0));
    // The model's own features are whole wherever there is a score: what `use` of an experiment file names.
    for feature in ["log_return_zscore", "volume_zscore", "price_range"] {
        let rows = archived(&storage, "s3://archive/rows/scored", feature);
        assert_eq!(rows.len(), scored.len());
    }
}

#[test]
fn what_was_agreed_on_is_written_by_whoever_comes_next() {
    let kafka = kafka();
    let bench = Bench::new(42, 60);
    let prefix = "agreed.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 1).unwrap();
    let rows = bench.path("rows");
    let more = format!(
        "[archive]\nlocation = {:?}\nevery = \"1s\"\nrows = 100\n",
        rows.to_str().unwrap()
    );
    let config = bench.configure(&kafka, "agreeing", &more);
    let text = std::fs::read_to_string(&config).unwrap();
    let prefixed = format!("[kafka]\ntopic_prefix = \"{prefix}\"\n");
    std::fs::write(&config, text.replace("[kafka]\n", &prefixed)).unwrap();
    // Where the folder belongs, a file is in the way.
    std::fs::write(&rows, "in the way").unwrap();
    let running = Running::start(&config);
    send(&kafka, &topic, &records(&bench.symbols));
    let began = Instant::now();
    while !running.log().contains("rows can't be archived") {
        assert!(began.elapsed() < LONG, "{}", running.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    running.kill();
    std::fs::remove_file(&rows).unwrap();
    let running = Running::start(&config);
    let n_candles = candles_of(&bench);
    let published = values(&kafka, &format!("{prefix}features"), n_candles, &[&running]);
    let storage = Storage::from_env();
    let uri = |of: &str| rows.join(of).display().to_string();
    let began = Instant::now();
    loop {
        // The first stretch is of rows whose windows aren't full.
        let scored = archived(&storage, &uri("scored"), "score").len();
        let found = scored + archived(&storage, &uri("unscored"), "close").len();
        if found >= published.len() {
            assert_eq!(found, published.len());
            break;
        }
        let (log, all) = (running.log(), published.len());
        assert!(began.elapsed() < LONG, "{found} of {all} rows: {log}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running.stop(), Some(0));
}
