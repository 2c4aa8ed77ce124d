//! The history of a real broker: transactions, kills, restarts, replicas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use registry::{MarketOptions, ServeOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_stack::KafkaServer;

use super::market::now;
use super::secured::{Program, program, serve_with, start};
use crate::harness::database_of;

const ANSWER: Duration = Duration::from_secs(30);
/// How long something may take to happen at all.
const PATIENCE: Duration = Duration::from_secs(120);
const TOPICS: [&str; 5] = ["alerts", "drift", "features", "kline-10s", "kline-1m"];

/// The one broker of this process; it stops when nobody uses it any more.
fn broker() -> Arc<KafkaServer> {
    static SERVER: Mutex<Weak<KafkaServer>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap();
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(KafkaServer::start().unwrap());
        *server = Arc::downgrade(&started);
        started
    })
}

/// Topics of a test of its own: their prefix.
fn topics(broker: &KafkaServer, partitions: i32) -> String {
    let prefix = format!("t{}.", uuid::Uuid::new_v4().simple());
    for topic in TOPICS {
        broker
            .create_topic(&format!("{prefix}{topic}"), partitions)
            .unwrap();
    }
    prefix
}

fn options(broker: &KafkaServer, prefix: &str) -> MarketOptions {
    let mut options = MarketOptions::new(broker.brokers());
    options.topic_prefix = prefix.to_owned();
    options
}

/// Writes transactions.
struct Scorer {
    producer: BaseProducer,
    prefix: String,
}

impl Scorer {
    fn new(broker: &KafkaServer, prefix: &str) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", broker.brokers())
            .set("transactional.id", format!("{prefix}scorer"))
            .create()
            .unwrap();
        producer.init_transactions(ANSWER).unwrap();
        Self {
            producer,
            prefix: prefix.to_owned(),
        }
    }

    fn send(&self, records: &[(&str, Value)], commit: bool) {
        self.producer.begin_transaction().unwrap();
        for (topic, value) in records {
            let topic = format!("{}{topic}", self.prefix);
            let key = value["symbol"].as_str().unwrap_or("k").to_owned();
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let mut record = BaseRecord::to(&topic).key(&key).payload(&value);
            while let Err((_, back)) = self.producer.send(record) {
                self.producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        self.producer.flush(ANSWER).unwrap();
        if commit {
            self.producer.commit_transaction(ANSWER).unwrap();
        } else {
            self.producer.abort_transaction(ANSWER).unwrap();
        }
    }
}

fn alert(n: usize) -> (&'static str, Value) {
    let value = json!({
        "alert_id": format!("a{n:05}"), "incident_id": format!("a{n:05}"), "sequence": 1,
        "symbol": format!("S{}", n % 13), "event_time": now() - 1_000_000 * n as i64, "interval": "1m",
        "early": false, "score": 4.5, "raw_score": 0.5, "threshold": 3.0, "severity": "HIGH",
        "severity_score": 80.0, "votes": [], "contributions": [],
        "model": {"name": "m", "version": "1", "run_id": "r"},
    });
    ("alerts", value)
}

fn score(n: usize, time: i64) -> (&'static str, Value) {
    let value = json!({
        "symbol": format!("S{}", n % 13), "interval": "1m", "open_time": time + n as i64 * 60_000_000,
        "filled": false, "close": 1.0, "volume": 2.0, "features": {"f": 0.25}, "score": 1.5,
        "raw_score": 0.5, "threshold": 3.0, "flagged": false, "votes": [],
        "model": {"name": "m", "version": "1", "run_id": "r"},
    });
    ("features", value)
}

async fn get(url: &str, path: &str) -> String {
    let url = format!("{url}{path}");
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

/// How often each alert is there.
async fn alerts(url: &str) -> BTreeMap<String, usize> {
    let text = get(url, "/api/2.0/foreshock/alerts?format=json").await;
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut counts = BTreeMap::new();
    for alert in list {
        *counts
            .entry(alert["alert_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    counts
}

/// Waits until `done` holds of what is looked at.
async fn until<T: std::fmt::Debug>(
    mut look: impl AsyncFnMut() -> T,
    done: impl Fn(&T) -> bool,
) -> T {
    let began = Instant::now();
    loop {
        let found = look().await;
        if done(&found) {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "it never happens: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The sum of a metric's lines that have that text.
async fn metric(url: &str, text: &str) -> f64 {
    let metrics = get(url, "/metrics").await;
    let lines = metrics.lines().filter(|line| line.starts_with(text));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

async fn state(url: &str) -> String {
    let ready: Value = serde_json::from_str(&get(url, "/readyz").await).unwrap();
    ready["market"]["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_once_and_nothing_else() {
    let broker = broker();
    let prefix = topics(&broker, 3);
    let scorer = Scorer::new(&broker, &prefix);
    let t = now() - 3_600_000_000;
    let candle = json!({
        "symbol": "S", "interval": "10s", "open_time": t, "open": 1.0, "high": 2.0, "low": 0.5,
        "close": 1.5, "volume": 3.0, "trade_count": 4,
    });
    let minute = json!({
        "symbol": "S", "interval": "1m", "open_time": t, "open": 1.0, "high": 2.0, "low": 0.5,
        "close": 1.75, "volume": 3.0,
    });
    let drift = json!({
        "model": "m", "statistic": "score_location", "feature": null, "value": 4.0, "limit": 3.0,
        "window": 500, "since": t, "until": t + 9, "action": "warn",
    });
    let mut first: Vec<(&str, Value)> = (0..40).map(alert).collect();
    first.extend((0..40).map(|n| score(n, t)));
    first.extend([
        ("kline-10s", candle.clone()),
        ("kline-1m", minute),
        ("drift", drift.clone()),
    ]);
    scorer.send(&first, true);
    let aborted: Vec<_> = (500..540).map(alert).collect();
    scorer.send(&aborted, false);
    // Some again, with what can't be read among them.
    let mut again: Vec<(&str, Value)> = first[20..].to_vec();
    again.extend([
        ("alerts", json!("no json")),
        ("alerts", json!("{\"alert_id\": \"x\"}")),
        ("features", json!("[]")),
        (
            "alerts",
            json!({"alert_id": "nul\u{0}", "event_time": 1, "symbol": "S", "interval": "1m",
            "severity": "LOW", "score": 1, "model": {"name": "m", "version": "1"}}),
        ),
    ]);
    again.extend((40..50).map(alert));
    scorer.send(&again, true);

    let market = Some(options(&broker, &prefix));
    let server = serve_with(
        ServeOptions {
            market,
            ..ServeOptions::default()
        },
        &[],
    )
    .await;
    let url = server.url.clone();
    let found = until(async || alerts(&url).await, |found| found.len() >= 50).await;
    let expected: BTreeMap<String, usize> = (0..50).map(|n| (format!("a{n:05}"), 1)).collect();
    assert_eq!(found, expected);
    let scores = async || {
        let mut all = 0;
        for symbol in 0..13 {
            let path = format!("/api/2.0/foreshock/scores?symbol=S{symbol}&format=csv");
            all += get(&url, &path).await.lines().count() - 1;
        }
        all
    };
    until(scores, |count| *count == 40).await;
    let candles = async |interval: &str| -> Value {
        let path = format!("/api/2.0/foreshock/candles?symbol=S&interval={interval}");
        serde_json::from_str(&get(&url, &path).await).unwrap()
    };
    until(
        async || candles("1m").await["candles"][0]["close"].clone(),
        |close| *close == 1.75,
    )
    .await;
    assert_eq!(candles("10s").await, json!({"candles": [candle]}));
    let verdicts = async || -> Value {
        serde_json::from_str(&get(&url, "/api/2.0/foreshock/drift").await).unwrap()
    };
    until(verdicts, |found| *found == json!({"verdicts": [drift]})).await;
    let bad = async || metric(&url, "registry_market_bad_records_total").await;
    until(bad, |count| *count == 4.0).await;
    until(async || state(&url).await, |state| state == "following").await;
}

async fn start_follower(folder: &TempDir, broker: &KafkaServer, prefix: &str) -> Program {
    let (uri, _) = database_of(folder.path());
    let mut command = program(folder);
    // As short as the broker lets it be: what a killed one had is taken over.
    command.env("REGISTRY_KAFKA_PROPERTIES", "session.timeout.ms=6000");
    let arguments = [
        "--backend-store-uri",
        &uri,
        "--brokers",
        &broker.brokers(),
        "--topic-prefix",
        prefix,
    ];
    start(command, &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_and_doubles_nothing() {
    let broker = broker();
    let prefix = topics(&broker, 2);
    let folder = tempfile::tempdir().unwrap();
    let (_, _database) = database_of(folder.path());
    let writing = {
        let (broker, prefix) = (Arc::clone(&broker), prefix.clone());
        std::thread::spawn(move || {
            let scorer = Scorer::new(&broker, &prefix);
            for round in 0..60 {
                let some: Vec<_> = (round * 50..round * 50 + 50).map(alert).collect();
                // Some are aborted before they are committed.
                if round % 5 == 0 {
                    let others: Vec<_> = (90_000 + round..90_010 + round).map(alert).collect();
                    scorer.send(&others, false);
                }
                scorer.send(&some, true);
            }
        })
    };
    let mut last = 0;
    for _ in 0..3 {
        let mut program = start_follower(&folder, &broker, &prefix).await;
        let url = program.url.clone();
        // It has written something more, and is killed whatever it does at the moment.
        last = until(
            async || alerts(&url).await.len(),
            |count| *count > last || *count == 3_000,
        )
        .await;
        program.child.kill().await.unwrap();
    }
    writing.join().unwrap();
    let program = start_follower(&folder, &broker, &prefix).await;
    let url = program.url.clone();
    let found = until(async || alerts(&url).await, |found| found.len() >= 3_000).await;
    let expected: BTreeMap<String, usize> = (0..3_000).map(|n| (format!("a{n:05}"), 1)).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_waited_for() {
    let mut broker = KafkaServer::start().unwrap();
    let prefix = topics(&broker, 1);
    Scorer::new(&broker, &prefix).send(&[alert(1)], true);
    let market = Some(options(&broker, &prefix));
    let server = serve_with(
        ServeOptions {
            market,
            ..ServeOptions::default()
        },
        &[],
    )
    .await;
    let url = server.url.clone();
    until(async || alerts(&url).await.len(), |count| *count == 1).await;
    broker.stop().unwrap();
    // It is told, and does no harm: this is still an answer with 200.
    until(async || state(&url).await, |state| state == "broker away").await;
    assert_eq!(metric(&url, "registry_market_following ").await, 0.0);
    assert_eq!(alerts(&url).await.len(), 1);
    broker.restart().unwrap();
    Scorer::new(&broker, &prefix).send(&[alert(2)], true);
    until(async || alerts(&url).await.len(), |count| *count == 2).await;
    until(async || state(&url).await, |state| state == "following").await;
    assert_eq!(metric(&url, "registry_market_rows_total").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_work() {
    let broker = broker();
    let prefix = topics(&broker, 6);
    let folder = tempfile::tempdir().unwrap();
    let (_, _database) = database_of(folder.path());
    let scorer = Scorer::new(&broker, &prefix);
    let mut one = start_follower(&folder, &broker, &prefix).await;
    let two = start_follower(&folder, &broker, &prefix).await;
    let rows = async |url: &str| metric(url, "registry_market_rows_total").await;
    // Until both have partitions that something is read of.
    let mut sent = 0;
    let both = async || {
        let some: Vec<_> = (sent..sent + 100).map(alert).collect();
        scorer.send(&some, true);
        sent += 100;
        let count = sent;
        let url = two.url.clone();
        until(async || alerts(&url).await.len(), |found| *found == count).await;
        (rows(&one.url).await, rows(&two.url).await)
    };
    until(both, |(one, two)| *one > 0.0 && *two > 0.0).await;
    let written = async || rows(&one.url).await + rows(&two.url).await;
    // Each row was written by one of them, once.
    let sum = until(written, |sum| *sum >= f64::from(sent as u32)).await;
    assert_eq!(sum, f64::from(sent as u32));
    one.child.kill().await.unwrap();
    let some: Vec<_> = (sent..sent + 100).map(alert).collect();
    scorer.send(&some, true);
    let found = until(
        async || alerts(&two.url).await,
        |found| found.len() >= sent + 100,
    )
    .await;
    let expected: BTreeMap<String, usize> =
        (0..sent + 100).map(|n| (format!("a{n:05}"), 1)).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_property_is_named_without_its_value() {
    let folder = tempfile::tempdir().unwrap();
    for (variable, name) in [
        ("no.such.property=hunter2", "no.such.property"),
        ("session.timeout.ms=hunter2", "session.timeout.ms"),
        ("hunter2", "line 1"),
    ] {
        let output = program(&folder)
            .args(["serve", "--port", "0", "--brokers", "127.0.0.1:1"])
            .env("REGISTRY_KAFKA_PROPERTIES", variable)
            .env("RUST_LOG", "trace")
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains(name), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
