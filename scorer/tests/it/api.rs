//! What the scorer answers, held against what it wrote to Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use test_stack::KafkaServer;

use crate::http::{Caller, violation};
use crate::support::{Bench, Running, kafka, records, send, values};

const TOKEN: &str = "a-token-that-nobody-guesses";

/// A scorer whose topics have this prefix, with these settings of the API.
fn configure(kafka: &KafkaServer, bench: &Bench, prefix: &str, api: &str) -> PathBuf {
    kafka
        .create_topic(&format!("{prefix}raw-trades"), 2)
        .unwrap();
    let path = bench.configure(kafka, prefix.trim_end_matches('.'), api);
    let text = std::fs::read_to_string(&path).unwrap();
    let topics = format!("[kafka]\ntopic_prefix = \"{prefix}\"\n");
    std::fs::write(&path, text.replace("[kafka]\n", &topics)).unwrap();
    path
}

type Key = (String, i64);

fn key(row: &Value) -> Key {
    let symbol = row["symbol"].as_str().unwrap().to_owned();
    (symbol, row["open_time"].as_i64().unwrap())
}

fn parsed(values: &[String]) -> Vec<Value> {
    let parse = |text: &String| serde_json::from_str(text).unwrap();
    values.iter().map(parse).collect()
}

/// All pages of `/v1/predictions`.
fn pages(caller: &Caller, query: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("/v1/predictions?limit={limit}&page_token={token}&{query}");
        let page = caller.read(&path);
        all.extend(page["predictions"].as_array().unwrap().iter().cloned());
        match page["next_page_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => return all,
        }
    }
}

#[test]
fn what_was_committed_is_remembered_streamed_and_scored_again() {
    let kafka = kafka();
    let bench = Bench::new(31, 60);
    let expected = bench.replayed();
    let prefix = "answers.";
    let token = bench.path("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let config = configure(
        &kafka,
        &bench,
        prefix,
        "token_file = \"token\"\nrate_limit = 0\nstream_buffer = 100000\n",
    );
    let running = Running::start(&config);
    let caller = Caller::of(&running, Some(TOKEN));
    caller.until("/v1/health", |health| health["status"] == "ok");

    // Who doesn't know the token learns nothing but that the scorer is there.
    let stranger = Caller::of(&running, None);
    for path in ["/v1/model", "/v1/events", "/openapi.json", "/nowhere"] {
        let answer = stranger.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.json()["error_code"], "UNAUTHENTICATED");
    }
    let guess = Caller::of(&running, Some("a-token-that-somebody-guesse"));
    assert_eq!(guess.post("/v1/predict", "{}").status, 401);
    for path in [
        "/livez", "/readyz", "/ping", "/health", "/version", "/metrics",
    ] {
        assert_eq!(stranger.get(path).status, 200, "{path}");
    }

    let mut stream = caller.listen("/v1/events?symbol=AAA&types=score,alert");
    let mut candles = caller.listen("/v1/events?symbol=BBB&types=candle");
    send(
        &kafka,
        &format!("{prefix}raw-trades"),
        &records(&bench.symbols),
    );
    let alerts = values(
        &kafka,
        &format!("{prefix}alerts"),
        expected.len(),
        &[&running],
    );
    assert_eq!(alerts, expected);
    let alerts = parsed(&alerts);
    let n_rows = |rows: &Value| rows["counts"]["candles"].as_u64();
    // Nothing more comes: all partitions have said what the trades give.
    let stats = caller.until("/v1/stats", |stats| {
        let alerts_told = &stats["counts"]["alerts"];
        let told: u64 = ["LOW", "MEDIUM", "HIGH"]
            .iter()
            .map(|word| alerts_told[word].as_u64().unwrap())
            .sum();
        told == expected.len() as u64
            && n_rows(stats).is_some_and(|n| {
                kafka.records(&format!("{prefix}features")).unwrap().len() as u64 == n
            })
    });
    let n_candles = usize::try_from(n_rows(&stats).unwrap()).unwrap();
    let rows = parsed(&values(
        &kafka,
        &format!("{prefix}features"),
        n_candles,
        &[&running],
    ));
    let scored: BTreeMap<Key, &Value> = rows
        .iter()
        .filter(|row| row["score"].is_number())
        .map(|row| (key(row), row))
        .collect();

    // Every scored row is remembered as it was committed, on exactly one page.
    caller.until("/v1/predictions", |page| {
        page["remembered"]["rows"] == scored.len()
    });
    let remembered = pages(&caller, "", 97);
    assert_eq!(remembered.len(), scored.len());
    let ids: BTreeSet<&str> = remembered
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), scored.len());
    for row in &remembered {
        for (name, value) in scored[&key(row)].as_object().unwrap() {
            assert_eq!(&row[name], value, "{name}");
        }
        let shares = row["contributions"].as_array().unwrap();
        let sum: f64 = shares.iter().map(|c| c["share"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{row}");
    }
    // Filters.
    let flagged = pages(&caller, "flagged=true", 1_000);
    let n_flagged = scored.values().filter(|row| row["flagged"] == true);
    assert_eq!(flagged.len(), n_flagged.count());
    let by_time: BTreeMap<Key, &Value> = alerts
        .iter()
        .map(|alert| {
            let symbol = alert["symbol"].as_str().unwrap().to_owned();
            ((symbol, alert["event_time"].as_i64().unwrap()), alert)
        })
        .collect();
    for row in &flagged {
        let alert = by_time[&key(row)];
        for name in [
            "alert_id",
            "incident_id",
            "sequence",
            "severity",
            "severity_score",
        ] {
            assert_eq!(row["alert"][name], alert[name], "{name}");
        }
    }
    let middle = flagged[flagged.len() / 2]["open_time"].as_i64().unwrap();
    let since = pages(&caller, &format!("symbol=CCC&since={}", middle / 1_000), 50);
    let late = |(name, time): &&Key| name == "CCC" && *time >= middle;
    assert_eq!(since.len(), scored.keys().filter(late).count());
    let until = pages(&caller, &format!("symbol=CCC&until={}", middle / 1_000), 50);
    let all = scored.keys().filter(|(name, _)| name == "CCC").count();
    assert_eq!(since.len() + until.len(), all);
    assert!(pages(&caller, "version=7", 50).is_empty());
    assert!(pages(&caller, "min_score=1e6", 50).is_empty());

    // A committed row sent back scores the same, bit for bit, and is explained as the alert was.
    let body: Vec<Value> = flagged
        .iter()
        .map(|row| json!({ "symbol": row["symbol"], "event_time": row["open_time"], "features": row["features"] }))
        .collect();
    let answer = caller.post("/v1/predict", json!({ "rows": body }).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.model_version.as_deref(), Some("0"));
    let predicted = answer.json();
    for (row, prediction) in flagged
        .iter()
        .zip(predicted["predictions"].as_array().unwrap())
    {
        let alert = by_time[&key(row)];
        for name in [
            "symbol",
            "event_time",
            "score",
            "raw_score",
            "threshold",
            "severity",
            "severity_score",
            "votes",
            "contributions",
        ] {
            assert_eq!(prediction[name], alert[name], "{name}");
        }
    }
    assert_eq!(predicted["model"], alerts[0]["model"]);

    // The same by MLflow's protocol.
    let names = [
        "symbol",
        "log_return_zscore",
        "volume_zscore",
        "price_range",
    ];
    let data: Vec<Vec<Value>> = flagged
        .iter()
        .map(|row| {
            let cell = |name: &str| match name {
                "symbol" => row["symbol"].clone(),
                name => row["features"][name].clone(),
            };
            names.iter().map(|name| cell(name)).collect()
        })
        .collect();
    let split = json!({ "dataframe_split": { "columns": names, "data": data } });
    let invoked = caller.post("/invocations", split.to_string());
    assert_eq!(invoked.status, 200, "{}", invoked.text);
    let invoked = invoked.json();
    for (row, output) in flagged
        .iter()
        .zip(invoked["predictions"].as_array().unwrap())
    {
        assert_eq!(output["score"], row["score"]);
        assert_eq!(output["raw_score"], row["raw_score"]);
        assert_eq!(output["flag"], true);
        assert_eq!(output["threshold"], row["threshold"]);
    }
    let mut csv = names.join(",");
    for row in &data {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| cell.to_string().replace('"', ""))
            .collect();
        csv.push_str(&format!("\n{}", cells.join(",")));
    }
    assert_eq!(
        caller
            .post_as("/invocations", "text/csv; charset=utf-8", csv)
            .json(),
        invoked
    );

    // Stats are of the same rows.
    let stats = caller.read("/v1/stats?by=symbol");
    assert_eq!(stats["counts"]["rows_scored"], scored.len());
    assert_eq!(stats["counts"]["rows_flagged"], flagged.len());
    assert_eq!(stats["counts"]["untold"], 0);
    let best = scored.values().map(|row| row["score"].as_f64().unwrap());
    let best = best.fold(f64::MIN, f64::max);
    assert_eq!(stats["scores"]["all"]["quantiles"]["max"], best);
    assert_eq!(stats["scores"]["all"]["rows"], scored.len());
    assert_eq!(stats["scores"]["symbols"]["CCC"]["rows"], all);
    assert!(stats["latency_seconds"]["p99"].as_f64() >= stats["latency_seconds"]["p50"].as_f64());

    let model = caller.read("/v1/model");
    let champion = &model["champion"]["model"];
    assert_eq!(
        champion["features"],
        json!(["log_return_zscore", "volume_zscore", "price_range"])
    );
    assert_eq!(
        champion["details"]["parameters"]["all"]["detector"],
        "isolation_forest"
    );
    assert_eq!(champion["details"]["threshold"]["rule"]["quantile"], 0.95);
    assert!(model["champion"]["loaded_at"].is_number() && model["challenger"].is_null());

    // What the description promises is what is answered.
    let document = caller.read("/openapi.json");
    let mut rejected = caller.post("/v1/predict", "{}").json();
    let health = caller.read("/v1/health");
    assert_eq!(health["registry"]["status"], "off");
    for (name, answer) in [
        ("Predictions", caller.read("/v1/predictions?limit=1000")),
        ("Predicted", predicted),
        ("Invoked", invoked),
        ("Stats", stats),
        ("Models", model),
        ("Health", health),
        ("Error", rejected.clone()),
    ] {
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name}");
        let violation = violation(&document, schema, &answer);
        assert_eq!(violation, None, "{name}");
    }
    rejected["more"] = json!(1);
    let error = &document["components"]["schemas"]["Error"];
    assert!(violation(&document, error, &rejected).is_some());

    // The stream told each row and alert of its symbol, as it was committed.
    let of_stream: BTreeSet<String> = kafka
        .records(&format!("{prefix}features"))
        .unwrap()
        .into_iter()
        .chain(kafka.records(&format!("{prefix}alerts")).unwrap())
        .map(|record| String::from_utf8(record.value).unwrap())
        .filter(|value| value.contains("\"symbol\":\"AAA\""))
        .collect();
    let mut told = BTreeSet::new();
    let mut last = String::new();
    while told.len() < of_stream.len() {
        let event = stream.next(&caller).unwrap();
        assert!(
            ["score", "alert"].contains(&event.name.as_str()),
            "{event:?}"
        );
        assert_ne!(event.id, last);
        last = event.id;
        assert!(told.insert(event.data));
    }
    assert_eq!(told, of_stream);
    let candle = candles.next(&caller).unwrap();
    let candle: Value = serde_json::from_str(&candle.data).unwrap();
    assert_eq!(candle["symbol"], "BBB");
    assert!(candle["open"].is_number());

    // Readers are let go when it stops.
    let metrics = stranger.get("/metrics").text;
    for line in [
        "scorer_http_requests_total{route=\"/v1/predict\",status=\"401\"} 1",
        "scorer_http_requests_total{route=\"/v1/predict\",status=\"422\"} 1",
        "scorer_http_requests_total{route=\"none\",status=\"401\"} 1",
        "scorer_event_streams 2",
        "scorer_untold_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!running.log().contains(TOKEN) && !metrics.contains(TOKEN));
    assert_eq!(running.stop(), Some(0));
    assert_eq!(stream.next(&caller), None);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() {
    let kafka = kafka();
    let bench = Bench::new(32, 5);
    let config = configure(
        &kafka,
        &bench,
        "refusals.",
        "max_body = 5000\nmax_rows = 2\nrate_limit = 0\n",
    );
    let running = Running::start(&config);
    let caller = Caller::of(&running, None);
    caller.until("/v1/health", |health| health["model"]["status"] == "ok");
    let good = r#"{"features":{"log_return_zscore":1,"volume_zscore":2,"price_range":0.5}}"#;
    let began = std::time::Instant::now();
    while caller.post("/v1/predict", good).status == 503 {
        assert!(began.elapsed() < crate::support::LONG);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let refused = |body: &str, status: u16, words: &str| {
        let answer = caller.post("/v1/predict", body);
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.text.contains(words), "{words}: {}", answer.text);
        answer.json()
    };
    refused("{\"features\":", 400, "line 1 column 12");
    refused(
        "{\"features\":{\"price_range\":NaN}}",
        400,
        "line 1 column 28",
    );
    let row = r#"{"features":{"log_return_zscore":1,"volume_zscore":2,"price_range":0.5}}"#;
    let second = r#"{"features":{"log_return_zscore":1,"volume_z":2,"price_range":"Infinity"}}"#;
    let json = refused(
        &format!("{{\"rows\":[{row},{second}]}}"),
        422,
        "rows[1].features.volume_z",
    );
    let fields: Vec<&str> = json["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "rows[1].features.volume_z",
            "rows[1].features.price_range",
            "rows[1].features.volume_zscore"
        ]
    );
    refused(
        &format!("{{\"rows\":[{row},{row},{row}]}}"),
        422,
        "`api.max_rows` allows 2",
    );
    refused(
        &format!("{{\"symbol\":\"{}\"}}", "x".repeat(6_000)),
        413,
        "5000 bytes",
    );
    assert_eq!(caller.post_as("/v1/predict", "text/csv", good).status, 415);
    assert_eq!(caller.get("/v1/predict").status, 405);
    assert_eq!(caller.get("/v1/nowhere").status, 404);

    // MLflow's protocol knows 400 and 415.
    for (media_type, body, status) in [
        ("application/json", "{\"inputs\":", 400),
        ("application/json", "{\"inputs\":[[1,2,3],[1,2,null]]}", 400),
        (
            "application/json",
            "{\"inputs\":[[1,2,3]],\"params\":{\"a\":1}}",
            400,
        ),
        ("text/csv", "price_range\n1\n", 400),
        ("application/vnd.apache.parquet", "PAR1", 415),
        ("application/json; charset=latin-1", "{}", 415),
    ] {
        let answer = caller.post_as("/invocations", media_type, body);
        assert_eq!(answer.status, status, "{}", answer.text);
        let json = answer.json();
        assert_eq!(json["error_code"], "BAD_REQUEST");
        assert!(json["message"].is_string() && json["fields"].is_null());
    }
    for (path, field) in [
        ("/v1/predictions?sinze=1", "sinze"),
        ("/v1/predictions?limit=0", "limit"),
        ("/v1/predictions?flagged=yes", "flagged"),
        ("/v1/predictions?page_token=abc", "page_token"),
        ("/v1/stats?since=yesterday", "since"),
        ("/v1/events?types=score,orders", "types"),
    ] {
        let answer = caller.get(path);
        assert_eq!(
            (answer.status, &answer.json()["fields"][0]["field"]),
            (422, &json!(field))
        );
    }
    // A reader who comes back from an earlier life is told that nobody knows what it missed.
    let mut events = caller.listen("/v1/events?last_event_id=abc-7");
    let event = events.next(&caller).unwrap();
    assert_eq!(
        (event.name.as_str(), event.data.as_str()),
        ("missed", "{\"missed\":null}")
    );
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn callers_who_ask_too_often_wait() {
    let kafka = kafka();
    let bench = Bench::new(33, 5);
    let config = configure(
        &kafka,
        &bench,
        "often.",
        "rate_limit = 0.001\nrate_burst = 5\npredictions = 0\n",
    );
    let running = Running::start(&config);
    let caller = Caller::of(&running, None);
    let statuses: Vec<u16> = (0..6).map(|_| caller.get("/v1/model").status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    let answer = caller.send(
        caller
            .request(Method::POST, "/v1/predict")
            .body("x".repeat(1 << 20)),
    );
    assert_eq!(answer.status, 429);
    let wait: f64 = answer.retry_after.unwrap().parse().unwrap();
    assert!((500.0..=1_000.0).contains(&wait), "{wait}");
    // Probes don't ask too often.
    assert!((0..10).all(|_| caller.get("/livez").status == 200));
    assert_eq!(running.stop(), Some(0));
}
