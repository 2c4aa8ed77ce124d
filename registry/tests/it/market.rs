//! The history of alerts, drift, candles and scores: filters, pages, exports, what is forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use market::WireCandle;
use registry::ServeOptions;
use registry::auth::Role;
use registry::store::{
    AlertRow, DriftRow, HistoryKind, HistoryRetention, HistoryRows, MarketHistory, Position,
    ScoreRow, Written,
};
use serde_json::{Value, json};

use super::secured::{Secured, serve_with};
use crate::harness::{database_of, on_postgres};

const DAY: i64 = 86_400_000_000;

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn alert(id: &str, event_time: i64, symbol: &str, severity: &str, model: &str) -> AlertRow {
    let record = json!({
        "alert_id": id, "incident_id": "i1", "symbol": symbol, "event_time": event_time,
        "severity": severity, "score": 4.25, "model": {"name": model, "version": "1", "run_id": ""},
    });
    AlertRow {
        alert_id: id.to_owned(),
        event_time,
        symbol: symbol.to_owned(),
        interval: "1m".to_owned(),
        severity: severity.to_owned(),
        score: 4.25,
        model: model.to_owned(),
        version: "1".to_owned(),
        incident_id: Some("i1".to_owned()),
        label: None,
        record: record.to_string(),
    }
}

fn score(symbol: &str, event_time: i64, version: &str, score: Option<f64>) -> ScoreRow {
    let record = json!({
        "symbol": symbol, "interval": "1m", "open_time": event_time, "score": score,
        "model": {"name": "m", "version": version, "run_id": ""}, "features": {"a": 0.5},
    });
    ScoreRow {
        symbol: symbol.to_owned(),
        event_time,
        interval: "1m".to_owned(),
        model: "m".to_owned(),
        version: version.to_owned(),
        score,
        flagged: score.map(|score| score > 3.0),
        label: None,
        record: record.to_string(),
    }
}

fn candle(symbol: &str, open_time: i64, close: f64) -> WireCandle {
    WireCandle {
        symbol: symbol.to_owned(),
        interval: "1m".to_owned(),
        open_time,
        open: 1.0,
        high: 2.0,
        low: 0.5,
        close,
        volume: 10.0,
        quote_volume: Some(12.5),
        buy_volume: None,
        trade_count: Some(7),
    }
}

fn verdict(id: &str, event_time: i64, action: &str) -> DriftRow {
    DriftRow {
        verdict_id: id.to_owned(),
        event_time,
        model: "m".to_owned(),
        version: None,
        statistic: "score_location".to_owned(),
        feature: None,
        symbol: None,
        action: Some(action.to_owned()),
        record: json!({"id": id, "model": "m", "until": event_time, "action": action}).to_string(),
    }
}

async fn server() -> (Secured, MarketHistory) {
    let server = serve_with(ServeOptions::default(), &[]).await;
    let history = MarketHistory::new(server.store.clone(), HistoryRetention::default());
    (server, history)
}

async fn write(history: &MarketHistory, rows: HistoryRows) {
    let written = history.write("c", &[], rows, now()).await.unwrap();
    assert_eq!(written, Written::Done);
}

async fn get(server: &Secured, path: &str) -> (u16, String) {
    let path = format!("/api/2.0/foreshock/{path}");
    let answer = server.request("", "GET", &path).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn page(server: &Secured, path: &str) -> Value {
    let (status, body) = get(server, path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn ids(page: &Value, list: &str, field: &str) -> Vec<String> {
    let rows = page[list].as_array().unwrap().iter();
    rows.map(|row| match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
    .collect()
}

#[tokio::test]
async fn pages_of_alerts_do_not_move() {
    let (server, history) = server().await;
    let now = now();
    // Three of each time, so that the id decides as well.
    let alerts = |range: std::ops::Range<i64>| HistoryRows {
        alerts: range
            .map(|i| alert(&format!("a{i:03}"), now - DAY + i / 3, "S", "LOW", "m"))
            .collect(),
        ..HistoryRows::default()
    };
    write(&history, alerts(0..25)).await;
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = page(&server, &format!("alerts?limit=7&page_token={token}")).await;
        seen.extend(ids(&page, "alerts", "alert_id"));
        let Some(next) = page["next_page_token"].as_str() else {
            break;
        };
        token = next.to_owned();
        // What comes meanwhile is newer.
        write(&history, alerts(100..103)).await;
    }
    let expected: Vec<String> = (0..25).rev().map(|i| format!("a{i:03}")).collect();
    assert_eq!(seen, expected);
    let oldest = page(&server, "alerts?limit=2&order=asc").await;
    assert_eq!(ids(&oldest, "alerts", "alert_id"), ["a000", "a001"]);
    let token = oldest["next_page_token"].as_str().unwrap();
    let next = page(
        &server,
        &format!("alerts?limit=2&order=asc&page_token={token}"),
    )
    .await;
    assert_eq!(ids(&next, "alerts", "alert_id"), ["a002", "a003"]);
}

#[tokio::test]
async fn every_filter_of_alerts_holds() {
    let (server, history) = server().await;
    let t = now() - DAY;
    let mut labelled = alert("d", t + 3, "T", "HIGH", "n");
    labelled.label = Some("pump".to_owned());
    labelled.version = "2".to_owned();
    labelled.interval = "10s".to_owned();
    labelled.incident_id = Some("i2".to_owned());
    let alerts = vec![
        alert("a", t, "S", "LOW", "m"),
        alert("b", t + 1, "S", "HIGH", "m"),
        alert("c", t + 2, "T", "MEDIUM", "m"),
        labelled,
    ];
    let record = alerts[1].record.clone();
    let rows = HistoryRows {
        alerts,
        ..HistoryRows::default()
    };
    write(&history, rows).await;
    for (query, expected) in [
        ("", "dcba"),
        ("symbol=S", "ba"),
        ("severity=high", "db"),
        ("model=n", "d"),
        ("model=m&version=1", "cba"),
        ("version=2", "d"),
        ("incident_id=i1", "cba"),
        ("label=pump", "d"),
        ("interval=10s", "d"),
        ("symbol=S&severity=HIGH", "b"),
        ("symbol=nobody", ""),
        (&format!("from={}", t + 2), "dc"),
        (&format!("to={}", t + 2), "ba"),
        (&format!("from={}&to={}", t + 1, t + 3), "cb"),
        ("to=2001-01-01T00:00:00Z", ""),
        ("from=2001-01-01T00:00:00%2B01:00", "dcba"),
    ] {
        let page = page(&server, &format!("alerts?{query}")).await;
        assert_eq!(
            ids(&page, "alerts", "alert_id").concat(),
            expected,
            "{query}"
        );
        assert!(page["next_page_token"].is_null());
    }
    assert_eq!(get(&server, "alerts/b").await, (200, record));
    let (status, body) = get(&server, "alerts/zzz").await;
    assert!(
        status == 404 && body.contains("RESOURCE_DOES_NOT_EXIST"),
        "{body}"
    );
}

#[tokio::test]
async fn candles_scores_and_verdicts_are_found() {
    let (server, history) = server().await;
    let t = now() - DAY;
    let rows = HistoryRows {
        candles: vec![
            candle("S", t, 1.5),
            candle("S", t + 60, 0.1),
            candle("T", t, 9.0),
        ],
        scores: vec![
            score("S", t, "1", None),
            score("S", t + 60, "1", Some(2.0)),
            score("S", t + 60, "2", Some(5.0)),
            score("T", t, "1", Some(1.0)),
        ],
        drift: vec![verdict("v1", t, "warn"), verdict("v2", t + 1, "retrain")],
        ..HistoryRows::default()
    };
    write(&history, rows).await;
    let candles = page(&server, "candles?symbol=S&interval=1m").await;
    let mut expected =
        serde_json::to_value([candle("S", t + 60, 0.1), candle("S", t, 1.5)]).unwrap();
    assert_eq!(candles["candles"], expected.take());
    assert_eq!(
        page(&server, "candles?symbol=S&interval=10s").await,
        json!({"candles": []})
    );
    for (query, expected) in [
        ("symbol=S", "2 1 1"),
        ("symbol=S&flagged=true", "2"),
        ("symbol=S&flagged=false", "1"),
        ("symbol=S&model=m&version=1&order=asc", "1 1"),
        ("symbol=T&interval=1m", "1"),
        (&format!("symbol=S&from={}", t + 60), "2 1"),
    ] {
        let page = page(&server, &format!("scores?{query}")).await;
        let rows = page["scores"].as_array().unwrap();
        let versions: Vec<&str> = rows
            .iter()
            .map(|r| r["model"]["version"].as_str().unwrap())
            .collect();
        assert_eq!(versions.join(" "), expected, "{query}");
    }
    // One time, told apart by the version.
    let first = page(&server, "scores?symbol=S&limit=1").await;
    let token = first["next_page_token"].as_str().unwrap();
    let second = page(
        &server,
        &format!("scores?symbol=S&limit=1&page_token={token}"),
    )
    .await;
    assert_eq!(second["scores"][0]["model"]["version"], "1");
    assert_eq!(second["scores"][0]["open_time"], t + 60);
    assert_eq!(
        ids(&page(&server, "drift").await, "verdicts", "id"),
        ["v2", "v1"]
    );
    assert_eq!(
        ids(
            &page(&server, "drift?action=warn&model=m").await,
            "verdicts",
            "id"
        ),
        ["v1"]
    );
}

#[tokio::test]
async fn an_export_has_all_of_it() {
    let (server, history) = server().await;
    let t = now() - DAY;
    let all = 2_345;
    let rows = HistoryRows {
        scores: (0..all)
            .map(|i| score("S", t + i / 2, &format!("{}", i % 2), Some(0.125)))
            .collect(),
        candles: vec![candle("S,\"T\"", t, 0.1)],
        ..HistoryRows::default()
    };
    write(&history, rows).await;
    let (status, text) = get(&server, "scores?symbol=S&format=json").await;
    assert_eq!(status, 200);
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let keys: BTreeSet<String> = list
        .iter()
        .map(|r| format!("{}{}", r["open_time"], r["model"]))
        .collect();
    assert_eq!((list.len(), keys.len()), (2_345, 2_345));
    for (limit, expected) in [("", 2_345), ("&limit=2000", 2_000), ("&limit=1", 1)] {
        let (_, text) = get(&server, &format!("scores?symbol=S&format=csv{limit}")).await;
        let mut lines = text.lines();
        assert!(
            lines
                .next()
                .unwrap()
                .starts_with("symbol,interval,open_time,")
        );
        assert_eq!(lines.count(), expected, "{limit}");
    }
    assert_eq!(
        get(&server, "scores?symbol=nobody&format=json").await.1,
        "[]\n"
    );
    assert_eq!(get(&server, "alerts?format=csv").await.1.lines().count(), 1);
    let (_, table) = get(&server, "candles?symbol=S,%22T%22&interval=1m&format=csv").await;
    let line = format!("\"S,\"\"T\"\"\",1m,{t},1.0,2.0,0.5,0.1,10.0,12.5,,7");
    assert_eq!(table.lines().nth(1), Some(line.as_str()));
    let answer = server
        .request("", "GET", "/api/2.0/foreshock/alerts?format=csv")
        .send()
        .await
        .unwrap();
    let header = |name| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/csv; charset=utf-8");
    assert!(header("content-disposition").contains("alerts.csv"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let (server, _) = server().await;
    for (path, name) in [
        ("candles?symbol=S", "'interval'"),
        ("candles?interval=1m", "'symbol'"),
        ("scores", "'symbol'"),
        ("alerts?severity=BAD", "'severity'"),
        ("alerts?from=yesterday", "'from'"),
        ("alerts?limit=many", "'limit'"),
        ("alerts?limit=5001", "'limit'"),
        ("alerts?page_token=x", "'page_token'"),
        // Of another kind: it has too few parts.
        ("alerts?page_token=WzFd", "page token"),
        ("alerts?simbol=S", "'simbol'"),
        ("drift?format=xml", "'format'"),
        ("scores?symbol=S&flagged=2", "'flagged'"),
        ("alerts?symbol=S&symbol=T", "'symbol'"),
    ] {
        let (status, body) = get(&server, path).await;
        assert_eq!(status, 400, "{path}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error_code"], "INVALID_PARAMETER_VALUE", "{path}");
        assert!(
            body["message"].as_str().unwrap().contains(name),
            "{path}: {body}"
        );
    }
    let (_, openapi) = (
        0,
        server
            .request("", "GET", "/api/openapi.json")
            .send()
            .await
            .unwrap(),
    );
    let openapi: Value = openapi.json().await.unwrap();
    let alerts = &openapi["components"]["schemas"]["ListAlerts"]["properties"];
    assert!(alerts["incident_id"].is_object() && alerts["page_token"].is_object());
}

#[tokio::test]
async fn readers_may_read() {
    let users = [
        ("root", Role::Admin),
        ("rita", Role::Reader),
        ("none", Role::None),
    ];
    let server = serve_with(ServeOptions::default(), &users).await;
    let grant = json!({
        "username": "none", "resource_type": "registered_model", "resource_id": "m",
        "permission": "READ",
    });
    let model = json!({"name": "m"});
    assert_eq!(
        server
            .status("root", "POST", "registered-models/create", model)
            .await,
        200
    );
    let granted = server
        .request("root", "POST", "/api/3.0/mlflow/users/permissions/grant")
        .json(&grant)
        .send()
        .await
        .unwrap();
    assert_eq!(granted.status(), 200, "{}", granted.text().await.unwrap());
    for (path, of_model) in [
        ("alerts", false),
        ("alerts?model=m", true),
        ("alerts?model=other", false),
        ("alerts/x", false),
        ("drift?model=m", true),
        ("scores?symbol=S&model=m", true),
        ("candles?symbol=S&interval=1m", false),
    ] {
        let path = format!("/api/2.0/foreshock/{path}");
        let status = async |user| {
            server
                .request(user, "GET", &path)
                .send()
                .await
                .unwrap()
                .status()
        };
        assert_eq!(status("").await, 401, "{path}");
        let found = if path.ends_with("/x") { 404 } else { 200 };
        assert_eq!(status("rita").await, found, "{path}");
        assert_eq!(
            status("none").await,
            if of_model { 200 } else { 403 },
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_is_written_again_is_there_once() {
    let (server, history) = server().await;
    let t = now() - DAY;
    let rows = |close| HistoryRows {
        alerts: vec![
            alert("a", t, "S", "LOW", "m"),
            alert("a", t, "S", "HIGH", "m"),
        ],
        candles: vec![candle("S", t, 5.0), candle("S", t, close)],
        scores: vec![score("S", t, "1", Some(close))],
        drift: vec![verdict("v", t, "warn"), verdict("v", t, "warn")],
    };
    for close in [1.0, 2.0] {
        write(&history, rows(close)).await;
    }
    let alerts = page(&server, "alerts").await;
    assert_eq!(ids(&alerts, "alerts", "severity"), ["HIGH"]);
    let candles = page(&server, "candles?symbol=S&interval=1m").await;
    assert_eq!(ids(&candles, "candles", "close"), ["2.0"]);
    let scores = page(&server, "scores?symbol=S").await;
    assert_eq!(ids(&scores, "scores", "score"), ["2.0"]);
    assert_eq!(
        page(&server, "drift").await["verdicts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn who_was_overtaken_writes_nothing() {
    let (server, history) = server().await;
    let place = |partition, found, next| Position {
        topic: "alerts".to_owned(),
        partition,
        found,
        next,
    };
    let rows = |id: &str| HistoryRows {
        alerts: vec![alert(id, now() - DAY, "S", "LOW", "m")],
        ..HistoryRows::default()
    };
    let write =
        async |id, places: &[Position]| history.write("c", places, rows(id), now()).await.unwrap();
    assert_eq!(write("a", &[place(0, None, 5)]).await, Written::Done);
    assert_eq!(write("b", &[place(0, None, 6)]).await, Written::Overtaken);
    assert_eq!(
        write("c", &[place(1, None, 3), place(0, Some(4), 9)]).await,
        Written::Overtaken
    );
    assert_eq!(
        write("d", &[place(1, None, 3), place(0, Some(5), 9)]).await,
        Written::Done
    );
    let offsets = server.store.kafka_offsets("c").await.unwrap();
    assert_eq!(offsets[&("alerts".to_owned(), 0)], 9);
    assert_eq!(offsets[&("alerts".to_owned(), 1)], 3);
    assert!(
        server
            .store
            .kafka_offsets("another")
            .await
            .unwrap()
            .is_empty()
    );
    let alerts = page(&server, "alerts?order=asc").await;
    assert_eq!(ids(&alerts, "alerts", "alert_id"), ["a", "d"]);
}

/// The partitions of a table, by name.
async fn partitions(server: &Secured, table: &str) -> Vec<String> {
    use sqlx::Connection as _;
    let (uri, _keep) = database_of(server.folder.path());
    let mut connection = sqlx::PgConnection::connect(&uri).await.unwrap();
    let text = format!(
        "SELECT CAST(inhrelid::regclass AS TEXT) FROM pg_inherits \
         WHERE inhparent = '{table}'::regclass ORDER BY 1"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(text))
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_old_is_forgotten_and_what_came_late_is_kept_as_long() {
    let server = serve_with(ServeOptions::default(), &[]).await;
    let mut retention = HistoryRetention::default();
    *retention.of_mut(HistoryKind::Scores) = Duration::from_secs(5 * 86_400);
    let history = MarketHistory::new(server.store.clone(), retention);
    let now = now();
    let times = [
        ("fresh", now - 3_600_000_000),
        ("aged", now - 3 * DAY),
        // Older than is kept already when it comes: a history that is replayed.
        ("replayed", now - 400 * DAY),
        ("first", 0),
        ("last", 253_402_300_799_000_000),
        ("worst", i64::MAX),
    ];
    let rows = || HistoryRows {
        scores: times
            .iter()
            .map(|(symbol, time)| score(symbol, *time, "1", None))
            .collect(),
        ..HistoryRows::default()
    };
    write(&history, rows()).await;
    let left = async || {
        let mut left = Vec::new();
        for (symbol, _) in times {
            let page = page(&server, &format!("scores?symbol={symbol}")).await;
            if page["scores"].as_array().unwrap().len() == 1 {
                left.push(symbol);
            }
        }
        left
    };
    assert_eq!(left().await.len(), 6);
    if on_postgres() {
        // The days of what is kept, and the one for all else.
        let found = partitions(&server, "scores").await;
        assert_eq!(found.len(), 3, "{found:?}");
    }
    history.keep_up(now).await.unwrap();
    assert_eq!(left().await.len(), 6, "nothing is old yet");
    if on_postgres() {
        let found = partitions(&server, "scores").await;
        assert!(found.len() >= 4, "the next days are ready: {found:?}");
    }
    // Half a day more than is kept after `aged`, as partitions go by whole days.
    history.keep_up(now + 3 * DAY + DAY / 2).await.unwrap();
    assert_eq!(
        left().await,
        ["fresh", "replayed", "first", "last", "worst"]
    );
    history.keep_up(now + 7 * DAY).await.unwrap();
    assert_eq!(left().await, [""; 0]);
    // What was dropped can be written again.
    write(&history, rows()).await;
    assert_eq!(left().await.len(), 6);
}

#[tokio::test]
async fn a_longer_retention_takes_rows_into_partitions() {
    let server = serve_with(ServeOptions::default(), &[]).await;
    let mut short = HistoryRetention::default();
    *short.of_mut(HistoryKind::Candles) = Duration::from_secs(86_400);
    let t = now() - 10 * DAY;
    let rows = |time| HistoryRows {
        candles: vec![candle("S", time, 1.0)],
        ..HistoryRows::default()
    };
    write(&MarketHistory::new(server.store.clone(), short), rows(t)).await;
    let long = MarketHistory::new(server.store.clone(), HistoryRetention::default());
    write(&long, rows(t + 1)).await;
    let candles = page(&server, "candles?symbol=S&interval=1m&order=asc").await;
    assert_eq!(candles["candles"].as_array().unwrap().len(), 2);
    if on_postgres() {
        assert_eq!(partitions(&server, "candles").await.len(), 2);
    }
}
