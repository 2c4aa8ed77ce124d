//! `scorer replay`: the backtest.

use history::{FeatureOptions, FeatureScan, Location, Storage};

use crate::support::{Bench, done, refused, scorer};

#[test]
fn a_replay_finds_the_wild_trades_and_says_the_same_twice() {
    let bench = Bench::new(1, 60);
    let alerts = bench.replayed();
    assert!(alerts.len() > 10, "{}", alerts.len());
    assert_eq!(alerts, bench.replayed());
    let labelled = alerts
        .iter()
        .filter(|line| line.contains(r#""label":"pump""#));
    assert!(labelled.count() * 3 > alerts.len());
    for line in &alerts {
        let alert: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(alert["score"].as_f64() > alert["threshold"].as_f64());
        assert_eq!(alert["votes"][0]["detector"], "isolation_forest");
        let shares = alert["contributions"].as_array().unwrap();
        let sum: f64 = shares.iter().map(|c| c["share"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert_eq!(alert["model"]["name"], "model");
    }
}

#[test]
fn scores_are_written_for_every_judged_candle() {
    let bench = Bench::new(2, 20);
    let scores = bench.path("scores.parquet");
    let output = done(
        scorer()
            .arg("replay")
            .arg(bench.path("trades.parquet"))
            .args(["--finish", "--output", "json", "--model"])
            .arg(bench.path("model"))
            .arg("--scores")
            .arg(&scores),
    );
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let location = Location::parse(&scores.to_string_lossy(), std::path::Path::new("/")).unwrap();
    let objects = location.resolve(&Storage::from_env()).unwrap();
    let options = FeatureOptions {
        columns: Some(vec!["score".to_owned(), "neg_log10_tail".to_owned()]),
        ..FeatureOptions::default()
    };
    let scan = FeatureScan::open(&objects, &options).unwrap();
    let n_rows = scan.n_rows().unwrap();
    assert_eq!(summary["scored"].as_u64(), Some(n_rows));
    assert_eq!(
        summary["candles"].as_u64().unwrap(),
        n_rows + summary["not_ready"].as_u64().unwrap()
    );
    // 20 minutes of candles of 10 seconds, 5 symbols; the windows take 20 of each.
    assert!((400..=600).contains(&n_rows), "{n_rows}");
}

#[test]
fn what_is_wrong_is_refused_with_a_reason() {
    let bench = Bench::new(3, 5);
    let trades = bench.path("trades.parquet");
    let with = |model: &str, code, words: &[&str]| {
        refused(
            scorer().arg("replay").arg(&trades).args(["--model", model]),
            code,
            words,
        );
    };
    with("nowhere", 1, &["the model `nowhere` can't be read"]);
    with("models:/m@champion", 2, &["MLFLOW_TRACKING_URI"]);
    with("models:/m", 1, &["names no version of a model"]);
    let damaged = bench.path("damaged.foreshock");
    let mut bytes = std::fs::read(bench.path("model/model.foreshock")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    with(&damaged.to_string_lossy(), 1, &["it is no sound model"]);
    let config = bench.path("other.toml");
    std::fs::write(
        &config,
        "[model]\nuri = \"model\"\n[features]\ninterval = \"1m\"\n",
    )
    .unwrap();
    refused(
        scorer()
            .arg("replay")
            .arg(&trades)
            .arg("--config")
            .arg(&config),
        1,
        &["the model was trained on features computed with"],
    );
    refused(
        scorer()
            .args(["replay", "nowhere.parquet", "--model"])
            .arg(bench.path("model")),
        1,
        &["nowhere.parquet"],
    );
}
