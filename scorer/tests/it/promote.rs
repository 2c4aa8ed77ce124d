//! Models promoted while the scorer runs, from a real registry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use mlflow_api::{Client, ClientOptions, Credentials};
use registry::{Options, Registry};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::http::Caller;
use crate::support::{
    Bench, LONG, Running, done, kafka, lines, model, records, scorer, send, values,
};

/// A registry in this process, and a client of it.
pub(crate) struct Models {
    pub(crate) runtime: Runtime,
    client: Client,
    pub(crate) uri: String,
    _stop: tokio_util::sync::DropGuard,
}

impl Models {
    pub(crate) fn start(bench: &Bench) -> Models {
        let runtime = Runtime::new().unwrap();
        let options = Options {
            backend_store_uri: registry::sqlite_uri(&bench.path("registry.db")),
            artifacts_destination: bench.path("artifacts").into(),
            ..Options::default()
        };
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let uri = runtime.block_on(async {
            let registry = Registry::open(options).await.unwrap();
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                .await
                .unwrap();
            let uri = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(registry::serve(listener, registry, shutdown));
            uri
        });
        let client = Client::new(&uri, Credentials::None, ClientOptions::default()).unwrap();
        Models {
            runtime,
            client,
            uri,
            _stop: stop.drop_guard(),
        }
    }

    /// Registers these bytes as the next version; its number.
    pub(crate) fn register(&self, bytes: Vec<u8>) -> String {
        self.runtime.block_on(async {
            let client = &self.client;
            client.ensure_registered_model("m").await.unwrap();
            let experiment = client.get_or_create_experiment("e").await.unwrap();
            let run = client
                .create_run(&experiment, None, 0, Vec::new())
                .await
                .unwrap();
            let source = format!("{}/model", run.info.artifact_uri.unwrap());
            client
                .upload_artifact(&source, "model.foreshock", bytes)
                .await
                .unwrap();
            let run_id = run.info.run_id;
            let version = client
                .create_model_version("m", &source, Some(&run_id), Vec::new(), None)
                .await
                .unwrap();
            version.version
        })
    }

    pub(crate) fn promote(&self, version: &str) {
        self.alias("champion", version);
    }

    pub(crate) fn alias(&self, alias: &str, version: &str) {
        let moved = self.client.set_alias("m", alias, version);
        self.runtime.block_on(moved).unwrap();
    }
}

pub(crate) fn wait_for(running: &Running, words: &str, n_times: usize) {
    let began = Instant::now();
    while running.log().matches(words).count() < n_times {
        assert!(
            began.elapsed() < LONG,
            "`{words}` isn't said: {}",
            running.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn promoted_models_take_over_between_candles_and_broken_ones_never() {
    let kafka = kafka();
    let bench = Bench::new(21, 120);
    let models = Models::start(&bench);
    let good: Vec<String> = (1..=3)
        .map(|seed| models.register(model(&bench.symbols, seed)))
        .collect();
    let broken = models.register(b"no model at all".to_vec());

    // What each version says of all trades.
    let mut by_version: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    for version in &good {
        let alerts = bench.path(&format!("{version}.jsonl"));
        done(
            scorer()
                .arg("replay")
                .arg(bench.path("trades.parquet"))
                .args([
                    "--model",
                    &format!("models:/m/{version}"),
                    "--tracking-uri",
                    &models.uri,
                ])
                .arg("--alerts")
                .arg(&alerts),
        );
        let of = by_version.entry(version).or_default();
        for line in lines(&alerts) {
            let alert: Value = serde_json::from_str(&line).unwrap();
            of.insert(alert["alert_id"].as_str().unwrap().to_owned(), alert);
        }
    }

    let prefix = "promoted.";
    kafka
        .create_topic(&format!("{prefix}raw-trades"), 2)
        .unwrap();
    let config = bench.configure(&kafka, "promoted", "");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text
        .replace("uri = \"model\"", "uri = \"models:/m@champion\"")
        .replace(
            "[kafka]\n",
            &format!(
                "[registry]\nuri = \"{}\"\n[kafka]\ntopic_prefix = \"{prefix}\"\n",
                models.uri
            ),
        );
    std::fs::write(&config, text).unwrap();

    // It waits for a first model.
    let mut running = Running::start(&config);
    wait_for(&running, "waiting for a model", 1);
    let in_force = |running: &Running, version: &str| {
        Caller::of(running, None).until("/v1/model", |told| {
            told["champion"]["model"]["version"] == version
        });
    };
    let features = format!("{prefix}features");
    let all = records(&bench.symbols);
    let pieces: Vec<_> = all.chunks(all.len().div_ceil(9)).collect();
    let mut said = 0;
    for (round, piece) in pieces.iter().enumerate() {
        match round {
            4 => {
                models.promote(&broken);
                wait_for(&running, "a model can't be used", 1);
            }
            5 => {
                // Killed while the alias names what can't be used, it waits; the next promotion helps it on.
                running.kill();
                running = Running::start(&config);
                wait_for(&running, "waiting for another one", 1);
                models.promote(&good[0]);
                in_force(&running, &good[0]);
            }
            _ => {
                models.promote(&good[round % 3]);
                in_force(&running, &good[round % 3]);
            }
        }
        send(&kafka, &format!("{prefix}raw-trades"), piece);
        // Something at least is said before the next one is promoted, which comes in the middle of the rest.
        said = values(&kafka, &features, said + 1, &[&running]).len();
    }

    // Every candle is scored once, and each score is the one that the version it names gives.
    let n_candles = {
        let output = done(
            scorer()
                .arg("replay")
                .arg(bench.path("trades.parquet"))
                .args(["--output", "json", "--model"])
                .arg(bench.path("model")),
        );
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        usize::try_from(summary["candles"].as_u64().unwrap()).unwrap()
    };
    let rows = values(&kafka, &features, n_candles, &[&running]);
    assert_eq!(rows.len(), n_candles);
    let mut seen = BTreeSet::new();
    let mut versions = BTreeSet::new();
    let mut flagged = BTreeMap::new();
    for row in &rows {
        let row: Value = serde_json::from_str(row).unwrap();
        let candle = (row["symbol"].to_string(), row["open_time"].to_string());
        assert!(seen.insert(candle.clone()), "{row}");
        versions.insert(row["model"]["version"].as_str().unwrap().to_owned());
        if row["flagged"] == true {
            flagged.insert(candle, row);
        }
    }
    assert_eq!(versions, good.iter().cloned().collect());
    let alerts = values(
        &kafka,
        &format!("{prefix}alerts"),
        flagged.len(),
        &[&running],
    );
    assert_eq!(alerts.len(), flagged.len());
    for alert in &alerts {
        let alert: Value = serde_json::from_str(alert).unwrap();
        let version = alert["model"]["version"].as_str().unwrap();
        let expected = &by_version[version][alert["alert_id"].as_str().unwrap()];
        for part in [
            "symbol",
            "event_time",
            "score",
            "raw_score",
            "threshold",
            "severity",
            "votes",
            "contributions",
            "model",
        ] {
            assert_eq!(alert[part], expected[part], "{part}");
        }
        let candle = (alert["symbol"].to_string(), alert["event_time"].to_string());
        assert_eq!(flagged[&candle]["raw_score"], alert["raw_score"]);
    }
    assert_eq!(running.stop(), Some(0));
}
