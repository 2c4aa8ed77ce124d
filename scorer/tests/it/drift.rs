//! Drift, from a change of the market's regime to the registry that shows the verdicts.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use detectors::drift::{FeatureReference, ScoreReference};
use detectors::{DriftBaseline, DriftConfig, Model};
use history::{Storage, SymbolTrades, write_trades};
use market::{Feature, features_of_trades};
use ndarray::Array2;
use registry::{MarketOptions, Options, Registry, ServeOptions, Server};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::http::Caller;
use crate::support::{
    Bench, LONG, Running, done, features, kafka, lines, model, records, scorer, send, trades,
    values,
};

/// A model with the baseline for drift that these trades give.
fn watched(symbols: &[SymbolTrades]) -> Vec<u8> {
    let mut model = Model::from_bytes(&model(symbols, 1)).unwrap();
    let columns: Vec<Feature> = model
        .feature_names
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    let names: Vec<String> = symbols.iter().map(|s| s.symbol.clone()).collect();
    let config = features().check().unwrap();
    let (mut of, mut all) = (Vec::new(), Vec::new());
    let (mut scores, mut flags) = (Vec::new(), Vec::new());
    for (place, symbol) in symbols.iter().enumerate() {
        let (rows, _) = features_of_trades(&config, &symbol.trades).unwrap();
        for row in rows.iter().filter(|row| row.ready(&columns)) {
            let row: Vec<f64> = columns.iter().map(|feature| row.value(*feature)).collect();
            let score = model.score_one(&symbol.symbol, &row).unwrap();
            scores.push(score.neg_log10_tail);
            flags.push(score.flagged);
            of.push(place as u32);
            all.extend(row);
        }
    }
    let rows = Array2::from_shape_vec((of.len(), columns.len()), all).unwrap();
    let config = DriftConfig {
        run_length: 1_000.0,
        windows: vec![200, 500],
        ..DriftConfig::default()
    };
    // Some hours tell nothing of hours of the week.
    let baseline = DriftBaseline::fit(
        &FeatureReference {
            time: None,
            symbol: &of,
            rows: rows.view(),
        },
        &model.feature_names,
        &ScoreReference {
            time: None,
            symbol: &of,
            score: &scores,
            flagged: &flags,
        },
        &names,
        &config,
    )
    .unwrap();
    assert!(baseline.limits().iter().all(|of| !of.is_empty()));
    model.baseline.drift = Some(Arc::new(baseline));
    model.to_bytes().unwrap()
}

/// Trades whose prices move six times as far from the middle on, with large quantities now and then.
fn restless(seed: u64, minutes: i64) -> Vec<SymbolTrades> {
    let mut symbols = trades(seed, minutes);
    for symbol in &mut symbols {
        let middle = symbol.trades.len() / 2;
        let base = symbol.trades[middle].price;
        for (place, trade) in symbol.trades[middle..].iter_mut().enumerate() {
            trade.price = base * (trade.price / base).powi(6);
            if place % 40 == 0 {
                trade.quantity *= 50.0;
            }
        }
    }
    symbols
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Where a scorer answers, by its log.
fn address(running: &Running) -> String {
    let log = running.log();
    // Brokers have addresses, too.
    let line = log
        .lines()
        .rfind(|line| line.contains("answering"))
        .unwrap();
    let (_, rest) = line.rsplit_once("127.0.0.1:").unwrap();
    let digits = rest.split(|letter: char| !letter.is_ascii_digit());
    format!("127.0.0.1:{}", digits.into_iter().next().unwrap())
}

/// Trades that change their ways, a model that is watched, and the verdicts that a replay says, sorted.
fn drifting() -> (Bench, Vec<String>) {
    let mut bench = Bench::new(31, 5);
    bench.symbols = restless(32, 200);
    std::fs::write(
        bench.path("model/model.foreshock"),
        watched(&trades(31, 240)),
    )
    .unwrap();
    let target = bench.path("trades.parquet");
    let storage = Storage::from_env();
    write_trades(&storage, &target.to_string_lossy(), &bench.symbols).unwrap();
    let verdicts = bench.path("drift.jsonl");
    done(
        scorer()
            .arg("replay")
            .arg(&target)
            .arg("--model")
            .arg(bench.path("model"))
            .arg("--drift")
            .arg(&verdicts),
    );
    let expected = lines(&verdicts);
    (bench, expected)
}

#[test]
fn verdicts_are_streamed_once_they_are_committed() {
    let kafka = kafka();
    let (bench, expected) = drifting();
    let prefix = "told-drift.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 1).unwrap();
    let config = bench.configure(&kafka, "telling-drift", "");
    let text = std::fs::read_to_string(&config).unwrap();
    let prefixed = format!("[kafka]\ntopic_prefix = \"{prefix}\"\n");
    std::fs::write(&config, text.replace("[kafka]\n", &prefixed)).unwrap();
    let running = Running::start(&config);
    let caller = Caller::of(&running, None);
    // A verdict is of no one symbol; who wants alerts only is told of none.
    let mut verdicts = caller.listen("/v1/events?types=drift&symbol=AAA");
    let mut alerts = caller.listen("/v1/events?types=alert&symbol=BBB");
    send(&kafka, &topic, &records(&bench.symbols));
    let mut told: Vec<String> = Vec::new();
    while told.len() < expected.len() {
        let event = verdicts.next(&caller).unwrap();
        assert_eq!(event.name, "drift", "{event:?}");
        told.push(event.data);
    }
    told.sort_unstable();
    assert_eq!(told, expected);
    let event = alerts.next(&caller).unwrap();
    assert_eq!(event.name, "alert", "{event:?}");
    assert_eq!(running.stop(), Some(0));
    assert_eq!(verdicts.next(&caller), None);
}

#[test]
fn a_change_of_regime_is_said_once_whatever_happens_and_reaches_the_registry() {
    let kafka = kafka();
    let (bench, expected) = drifting();
    let target = bench.path("trades.parquet");
    let parsed: Vec<Value> = expected
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let middle = bench.symbols[0].trades[bench.symbols[0].trades.len() / 2].event_time;
    let after = parsed
        .iter()
        .filter(|verdict| verdict["until"].as_i64() > Some(middle));
    let actions: BTreeMap<&str, usize> = after.fold(BTreeMap::new(), |mut actions, verdict| {
        *actions
            .entry(verdict["action"].as_str().unwrap())
            .or_default() += 1;
        actions
    });
    assert!(
        actions.contains_key("warn") && actions.contains_key("retrain"),
        "{expected:?}"
    );

    let prefix = "drifting.";
    let topic = format!("{prefix}raw-trades");
    kafka.create_topic(&topic, 1).unwrap();
    let config = bench.configure(&kafka, "drifting", "");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(
        "[kafka]\n",
        &format!("[kafka]\ntopic_prefix = \"{prefix}\"\n"),
    );
    std::fs::write(&config, text).unwrap();
    let all = records(&bench.symbols);
    for (round, piece) in (0..).zip(all.chunks(all.len().div_ceil(5))) {
        let running = Running::start(&config);
        send(&kafka, &topic, piece);
        std::thread::sleep(Duration::from_millis(500 + 800 * round));
        running.kill();
    }
    let running = Running::start(&config);
    // All candles first: then nothing is left to be said.
    let n_candles = {
        let output = done(
            scorer()
                .arg("replay")
                .arg(&target)
                .args(["--output", "json", "--model"])
                .arg(bench.path("model")),
        );
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["drift"].as_u64(), Some(expected.len() as u64));
        usize::try_from(summary["candles"].as_u64().unwrap()).unwrap()
    };
    values(&kafka, &format!("{prefix}features"), n_candles, &[&running]);
    let found = values(
        &kafka,
        &format!("{prefix}drift"),
        expected.len(),
        &[&running],
    );
    assert_eq!(found, expected, "{}", running.log());
    let metrics = get(&address(&running), "/metrics");
    let name = "scorer_drift_statistic{partition=\"0\",name=\"price_range\",measure=\"spread\"";
    assert!(metrics.contains(name), "{metrics}");
    assert_eq!(running.stop(), Some(0));

    // The registry follows the topic, and shows what was said.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let mut market = MarketOptions::new(kafka.brokers());
    market.topic_prefix = prefix.to_owned();
    let registry = runtime.block_on(async {
        let registry = Registry::open(Options {
            backend_store_uri: registry::sqlite_uri(&bench.path("registry.db")),
            artifacts_destination: bench.path("artifacts").into(),
            ..Options::default()
        });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0));
        let listener = listener.await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let options = ServeOptions {
            market: Some(market),
            ..ServeOptions::default()
        };
        let server = Server::prepare(registry.await.unwrap(), options, stop);
        tokio::spawn(server.await.unwrap().run(listener));
        address
    });
    let ids = |verdicts: &[Value]| -> Vec<String> {
        let id = |verdict: &Value| verdict["id"].as_str().unwrap().to_owned();
        let mut ids: Vec<String> = verdicts.iter().map(id).collect();
        ids.sort_unstable();
        ids
    };
    let began = Instant::now();
    let shown = loop {
        let path = "/api/2.0/foreshock/drift?model=model&version=0&from=0&limit=1000";
        let answer: Value = serde_json::from_str(&get(&registry, path)).unwrap();
        let shown = answer["verdicts"].as_array().unwrap().clone();
        if shown.len() >= parsed.len() {
            break shown;
        }
        assert!(began.elapsed() < LONG, "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(ids(&shown), ids(&parsed));
}
