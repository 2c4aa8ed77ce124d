//! Whatever a body or a token holds, the answer is an answer: JSON, and never the server's failure.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use registry::api::routes::ROUTES;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::harness::serve;

/// Names that messages have, so that values meet the code behind them.
const NAMES: &[&str] = &[
    "name",
    "experiment_id",
    "experiment_ids",
    "run_id",
    "runId",
    "run_uuid",
    "key",
    "value",
    "timestamp",
    "step",
    "metrics",
    "params",
    "tags",
    "filter",
    "order_by",
    "max_results",
    "page_token",
    "version",
    "alias",
    "stage",
    "stages",
    "source",
    "model_id",
    "models",
    "status",
    "path",
    "metric_key",
    "run_ids",
    "new_name",
    "description",
    "model_json",
    "view_type",
    "run_view_type",
    "start_time",
    "end_time",
    "datasets",
    "field_name",
    "ascending",
    "nothing",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "", "0", "1", "..", "NaN", "a = 'b'", "%00", "\u{0}", "9e999"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES), inner), 0..6).prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect::<Map<_, _>>())
            }),
        ]
    })
}

/// A message of such fields; sometimes it is something else.
fn message() -> impl Strategy<Value = Value> {
    let fields = prop::collection::vec((prop::sample::select(NAMES), any_json()), 0..10);
    prop_oneof![
        9 => fields.prop_map(|fields| {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
            Value::Object(fields.collect::<Map<_, _>>())
        }),
        1 => any_json(),
    ]
}

#[tokio::test]
async fn no_message_makes_the_server_fail() {
    let server = serve().await;
    let mut runner = TestRunner::deterministic();
    let http = reqwest::Client::new();
    for route in ROUTES {
        let path = route
            .path
            .replace("{*path}", "0/x")
            .replace("{model_id}", "m-0");
        let url = format!(
            "{}/api/{}{}",
            server.url,
            route.version,
            path.replace("{tag_key}", "t")
        );
        let method: Method = route.method.to_uppercase().parse().unwrap();
        for _ in 0..16 {
            let message = message().new_tree(&mut runner).unwrap().current();
            let request = http
                .request(method.clone(), &url)
                .header("content-type", "application/json");
            let request = match message.as_object() {
                Some(fields) if method == Method::GET => {
                    let text = |value: &Value| {
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    };
                    let pairs: Vec<_> = fields.iter().map(|(k, v)| (k, text(v))).collect();
                    request.query(&pairs)
                }
                _ => request.body(message.to_string()),
            };
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            // Only a bucket signs addresses; this server has a folder.
            let unsigned = route.path.starts_with("/mlflow-artifacts/presigned/")
                && body["error_code"] == "NOT_IMPLEMENTED";
            assert!(
                status < 500 || unsigned,
                "{method} {url} {message}: {status} {text}"
            );
            if status >= 400 {
                assert!(
                    body["error_code"].is_string(),
                    "{method} {url} {message}: {text}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_token_makes_a_search_fail() {
    let server = serve().await;
    let mut runner = TestRunner::deterministic();
    let tokens = prop_oneof!["\\PC{1,30}", "[0-9a-f]{16}", "[A-Za-z0-9+/]{4,40}={0,2}"];
    for _ in 0..40 {
        let token = tokens.new_tree(&mut runner).unwrap().current();
        for (path, body) in [
            (
                "runs/search",
                json!({"experiment_ids": ["0"], "page_token": token}),
            ),
            (
                "experiments/search",
                json!({"max_results": 5, "page_token": token}),
            ),
            (
                "logged-models/search",
                json!({"experiment_ids": ["0"], "page_token": token}),
            ),
        ] {
            let (status, body) = server.post(path, body).await;
            assert!(
                status == 200 || status == 400,
                "{path} {token:?}: {status} {body}"
            );
        }
    }
}

#[tokio::test]
async fn a_metric_comes_back_as_it_was_logged() {
    let server = serve().await;
    let run = server.run().await.info.run_id;
    let values = [
        9999.0 / 7.0,
        0.1 + 0.2,
        1e-310,
        123_456_789.123_456_79,
        -f64::MAX,
    ];
    for (i, value) in values.iter().enumerate() {
        let body = json!({"run_id": run, "key": format!("m{i}"), "value": value, "timestamp": 1});
        assert_eq!(server.post("runs/log-metric", body).await.0, 200);
    }
    let read = server.client.get_run(&run).await.unwrap();
    for (i, value) in values.iter().enumerate() {
        let metric = read
            .data
            .metrics
            .iter()
            .find(|m| m.key == format!("m{i}"))
            .unwrap();
        assert_eq!(metric.value.to_bits(), value.to_bits(), "{value}");
    }
}
