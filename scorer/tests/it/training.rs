//! What the scorer archived is what the trainer reads next, and its model is what the scorer runs next.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use history::Storage;
use serde_json::Value;
use test_stack::program::sibling;

use crate::archive::{archived, candles_of};
use crate::promote::Models;
use crate::support::{
    Bench, LONG, Running, done, kafka, lines, records, refused, scorer, send, values,
};

/// An experiment on archived rows, or on the trades that they are of; both know as much.
fn experiment(data: &str, window: usize) -> String {
    format!(
        r#"
[experiment]
name = "again"
[data]
{data}
interval = "10s"
[features]
use = ["log_return_zscore", "volume_zscore", "price_range", "macro_avg_volume"]
window = {window}
allowed_lateness = "1s"
macro_window = "2m"
macro_baseline = "4m"
[split]
train_until = 2023-11-14T23:20:00Z
validation_until = 2023-11-14T23:50:00Z
[[candidates]]
detector = "isolation_forest"
n_trees = 20
sample_size = 64
[evaluate]
alerts_per_symbol_day = 200.0
resamples = 20
[register]
model = "m"
"#
    )
}

const ARCHIVE: &str = r#"source = "rows/scored"
kind = "features"
time = "open_time"
symbol_column = "symbol"
label = "label"
engine = "engine""#;

const TRADES: &str = r#"source = "trades.parquet"
kind = "trades""#;

fn trainer(folder: &Path, registry: &str) -> Command {
    let mut command = sibling(
        env!("CARGO_BIN_EXE_scorer"),
        "trainer",
        &["AWS_", "MLFLOW_"],
    );
    command
        .current_dir(folder)
        .env("MLFLOW_TRACKING_URI", registry);
    command
}

/// What this version says of all trades, but for its name and what follows from that.
fn said_by(bench: &Bench, models: &Models, version: &str) -> Vec<Value> {
    let alerts = bench.path(&format!("{version}.jsonl"));
    done(
        scorer()
            .arg("replay")
            .arg(bench.path("trades.parquet"))
            .args(["--model", &format!("models:/m/{version}")])
            .args(["--tracking-uri", &models.uri, "--alerts"])
            .arg(&alerts),
    );
    let mut all: Vec<Value> = Vec::new();
    for line in lines(&alerts) {
        let mut alert: Value = serde_json::from_str(&line).unwrap();
        let parts = alert.as_object_mut().unwrap();
        for part in ["alert_id", "incident_id", "model"] {
            parts.remove(part);
        }
        all.push(alert);
    }
    let key = |alert: &Value| (alert["symbol"].to_string(), alert["event_time"].as_i64());
    all.sort_by_key(key);
    all
}

#[test]
fn the_trainer_learns_from_the_archive_what_it_learns_from_the_trades() {
    let kafka = kafka();
    let bench = Bench::new(43, 120);
    let prefix = "trained.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 2).unwrap();
    let rows = bench.path("rows");
    // Several files a day.
    let more = format!(
        "[archive]\nlocation = {:?}\nevery = \"1s\"\nrows = 500\n",
        rows.to_str().unwrap()
    );
    let config = bench.configure(&kafka, "archiving-for-training", &more);
    let text = std::fs::read_to_string(&config).unwrap();
    let prefixed = format!("[kafka]\ntopic_prefix = \"{prefix}\"\n");
    std::fs::write(&config, text.replace("[kafka]\n", &prefixed)).unwrap();
    let running = Running::start(&config);
    send(&kafka, &topic, &records(&bench.symbols));
    let n_candles = candles_of(&bench);
    let published = values(&kafka, &format!("{prefix}features"), n_candles, &[&running]);
    let is_scored = |row: &&String| {
        let row: Value = serde_json::from_str(row).unwrap();
        row["score"].is_number()
    };
    let n_scored = published.iter().filter(is_scored).count();
    let storage = Storage::from_env();
    let scored = rows.join("scored").display().to_string();
    let began = Instant::now();
    while archived(&storage, &scored, "score").len() < n_scored {
        assert!(began.elapsed() < LONG, "{}", running.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(running.stop(), Some(0));

    let models = Models::start(&bench);
    let write = |name: &str, text: String| std::fs::write(bench.path(name), text).unwrap();
    write("archive.toml", experiment(ARCHIVE, 20));
    write("trades.toml", experiment(TRADES, 20));
    write("other.toml", experiment(ARCHIVE, 21));
    let run = |name: &str| {
        let mut command = trainer(bench.folder.path(), &models.uri);
        command.args(["run", name, "--output", "json"]);
        command
    };
    let from_archive = done(&mut run("archive.toml"));
    let words = String::from_utf8_lossy(&from_archive.stderr).into_owned();
    // The last feature needs two candles more than those that were scored, for each of five symbols.
    assert!(words.contains("; left out, not ready: 10 rows"), "{words}");
    assert!(!words.contains("no purge between the parts"), "{words}");
    let from_archive: Value = serde_json::from_slice(&from_archive.stdout).unwrap();
    let from_trades: Value = serde_json::from_slice(&done(&mut run("trades.toml")).stdout).unwrap();
    assert_eq!(from_archive["model_version"], "1", "{from_archive:#}");
    assert_eq!(from_trades["model_version"], "2");
    let metric = |of: &Value, name: &str| of["metrics"][name].as_f64().unwrap();
    assert!(metric(&from_archive, "test_labelled_rows") > 10.0);
    for name in [
        "validation_rows",
        "validation_average_precision",
        "threshold",
    ] {
        let (one, other) = (metric(&from_archive, name), metric(&from_trades, name));
        assert_eq!(one, other, "{name}");
    }

    // A scorer takes it as it is, and it says what the model of the trades says, bit for bit.
    let alerts = said_by(&bench, &models, "1");
    assert!(alerts.len() > 20, "{}", alerts.len());
    assert_eq!(alerts, said_by(&bench, &models, "2"));

    // Features that were computed in another way than is said are refused.
    refused(
        &mut run("other.toml"),
        1,
        &["data row 1 of", "computed in another way (`engine` is"],
    );
}
