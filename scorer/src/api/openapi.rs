//! The OpenAPI description at `/openapi.json`: every route of the table, and what it takes and answers. A test asks
//! every route and holds the answers against it.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use market::Feature;
use serde_json::{Map, Value, json};

use super::feed::Kind;
use super::routes::{Access, ROUTES, Route};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub(super) async fn handle() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Foreshock scorer",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Scores of the model that is in force, for callers, and what the scorer said lately. \
                            Times are µs since the epoch where they are event times, ms where they are said to be; \
                            scores are -log10 tail probabilities.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let told = Told::of(route.path);
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": told.answer, "content": { told.media_type: { "schema": told.schema } } }),
    );
    if route.path == "/v1/health" {
        let down = json!({ "description": "Something is down without which nothing goes on.",
            "content": { told.media_type: { "schema": told.schema } } });
        responses.insert("503".to_owned(), down);
    }
    match route.access {
        Access::Token => {
            let refused = json!({ "description": "Refused.", "content": {
                "application/json": { "schema": reference("Error") } } });
            responses.insert("default".to_owned(), refused);
        }
        Access::Open | Access::Metrics => {
            let not_well = json!({ "description": "Not well." });
            responses.insert("503".to_owned(), not_well);
        }
    }
    let mut operation = json!({
        "operationId": route.path.trim_start_matches('/').replace(['/', '.'], "_"),
        "summary": told.summary,
        "parameters": told.parameters,
        "responses": responses,
        "security": match route.access {
            Access::Token => json!([{ "token": [] }]),
            Access::Open => json!([]),
            Access::Metrics => json!([{}, { "token": [] }]),
        },
    });
    if let Some(content) = told.body {
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// What is told of a route.
struct Told {
    summary: &'static str,
    answer: &'static str,
    media_type: &'static str,
    schema: Value,
    parameters: Vec<Value>,
    body: Option<Value>,
}

impl Told {
    fn json(summary: &'static str, answer: &'static str, schema: &str) -> Self {
        Self {
            summary,
            answer,
            media_type: "application/json",
            schema: reference(schema),
            parameters: Vec::new(),
            body: None,
        }
    }

    fn text(summary: &'static str, answer: &'static str, media_type: &'static str) -> Self {
        Self {
            media_type,
            schema: string(),
            ..Self::json(summary, answer, "Error")
        }
    }

    fn asking(self, parameters: impl Into<Vec<Value>>) -> Self {
        Self {
            parameters: parameters.into(),
            ..self
        }
    }

    fn taking(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    fn of(path: &str) -> Self {
        match path {
            "/v1/predict" => Self::json("Scores rows of features.", "Scored.", "Predicted")
                .taking(json!({ "application/json": { "schema": { "oneOf": [
                    reference("Rows"), reference("Row") ] } } })),
            "/v1/predictions" => {
                let mut parameters = vec![symbol()];
                parameters.extend(moments());
                parameters.extend([
                    query("flagged", "Only rows beyond the threshold, or only the others.", boolean()),
                    query("min_score", "Only rows that score so at least.", number()),
                    query("version", "Only rows that this version scored.", string()),
                    query("limit", "Rows a page.", json!({ "type": "integer", "minimum": 1, "maximum": 1_000, "default": 100 })),
                    query("page_token", "Where a page begins: `next_page_token` of the page before.", string()),
                ]);
                Self::json("The last scored rows, the newest first.", "A page of them.", "Predictions")
                    .asking(parameters)
            }
            "/v1/stats" => {
                let mut parameters = vec![symbol()];
                parameters.extend(moments());
                parameters.push(query("by", "Scores of each symbol as well.", json!({ "enum": ["symbol"] })));
                Self::json("Counts, rates, latencies and quantiles of scores.", "As they are now.", "Stats")
                    .asking(parameters)
            }
            "/v1/model" => Self::json("The models in force, and what is known of them.", "As they are now.", "Models"),
            "/v1/health" => Self::json("How everything is that the scorer needs.", "It goes on.", "Health"),
            "/v1/events" => Self::text("What is committed, as it is, as server-sent events, with `missed` for those who were too slow.", "Events.", "text/event-stream")
                .asking([
                    query("symbol", "Only of this symbol, and verdicts on drift, which are of none.", string()),
                    query("types", &format!("Types of events, with commas between: {}; all without it.", Kind::words()), string()),
                    query("last_event_id", "As the header `Last-Event-ID`: how many were missed since is told.", string()),
                ]),
            "/invocations" => Self::json("Scores a table, as MLflow's scoring protocol has it.", "Scored.", "Invoked")
                .taking(json!({
                    "application/json": { "schema": reference("Invocation") },
                    "text/csv": { "schema": string() },
                })),
            "/openapi.json" => Self::json("This description.", "OpenAPI 3.1.", "Description"),
            "/ping" | "/health" => Self::text("Whether there is a model, as MLflow's scoring server says it.", "There is.", "application/json"),
            "/version" => Self::text("The version of MLflow whose protocol is spoken.", "A version.", "application/json"),
            "/livez" => Self::text("Whether the loop comes round.", "It does.", "text/plain; charset=utf-8"),
            "/readyz" => Self::text("Whether partitions are held and judged.", "They are.", "text/plain; charset=utf-8"),
            "/metrics" => Self::text("Metrics for Prometheus.", "Metrics.", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            _ => Self::text("", "", "text/plain"),
        }
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn symbol() -> Value {
    query("symbol", "Only of this symbol.", string())
}

fn moments() -> [Value; 2] {
    let moment = || json!({ "type": "integer", "format": "int64" });
    [
        query(
            "since",
            "Candles that opened then or later, ms since the epoch.",
            moment(),
        ),
        query(
            "until",
            "Candles that opened before, ms since the epoch.",
            moment(),
        ),
    ]
}

fn string() -> Value {
    json!({ "type": "string" })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn micros() -> Value {
    json!({ "type": "integer", "format": "int64", "description": "µs since the epoch" })
}

fn millis() -> Value {
    json!({ "type": "integer", "format": "int64", "description": "ms since the epoch" })
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn map(of: Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

/// An object of exactly these fields; those whose names end with `?` may be absent.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in fields {
        let plain = name.trim_end_matches('?');
        if plain == name {
            required.push(plain.to_owned());
        }
        properties.insert(plain.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn schemas() -> Value {
    let features: Map<String, Value> = Feature::ALL
        .into_iter()
        .map(|feature| {
            let schema = json!({ "type": "number", "description": feature.definition() });
            (feature.name().to_owned(), schema)
        })
        .collect();
    let features =
        json!({ "type": "object", "properties": features, "additionalProperties": false });
    let severity = json!({ "enum": ["LOW", "MEDIUM", "HIGH"] });
    let counts = json!({ "type": "object", "properties": { "LOW": count(), "MEDIUM": count(), "HIGH": count() },
        "required": ["LOW", "MEDIUM", "HIGH"], "additionalProperties": false });
    let rate = || or_null(number());
    json!({
        "Error": object([
            ("error_code", string()),
            ("message", string()),
            ("fields?", list(object([("field", string()), ("message", string())]))),
        ]),
        "Features": features,
        "ModelId": object([("name", string()), ("version", string()), ("run_id", string())]),
        "Vote": object([("detector", string()), ("score", number()), ("threshold", number()), ("flag", boolean())]),
        "Contribution": object([("feature", string()), ("value", number()), ("share", number())]),
        "Row": object([
            ("symbol?", or_null(string())),
            ("event_time?", or_null(micros())),
            ("features", reference("Features")),
        ]),
        "Rows": object([("rows", list(reference("Row")))]),
        "Predicted": object([
            ("model", reference("ModelId")),
            ("threshold", number()),
            ("predictions", list(object([
                ("symbol?", string()),
                ("event_time?", micros()),
                ("score", number()),
                ("raw_score", number()),
                ("threshold", number()),
                ("flagged", boolean()),
                ("severity", severity.clone()),
                ("severity_score", json!({ "type": "number", "minimum": 0, "maximum": 100 })),
                ("votes", list(reference("Vote"))),
                ("contributions", list(reference("Contribution"))),
            ]))),
        ]),
        "Predictions": object([
            ("predictions", list(reference("Prediction"))),
            ("next_page_token?", string()),
            ("remembered", object([("rows", count()), ("bytes", count()), ("forgotten", count())])),
        ]),
        "Prediction": object([
            ("id", string()),
            ("symbol", string()),
            ("interval", string()),
            ("open_time", micros()),
            ("filled", boolean()),
            ("close", number()),
            ("volume", number()),
            ("features", reference("Features")),
            ("score", number()),
            ("raw_score", number()),
            ("threshold", number()),
            ("flagged", boolean()),
            ("votes", list(reference("Vote"))),
            ("engine", string()),
            ("model", reference("ModelId")),
            ("label?", string()),
            ("contributions", list(reference("Contribution"))),
            ("alert?", object([
                ("alert_id", string()),
                ("incident_id", string()),
                ("sequence", count()),
                ("early", boolean()),
                ("severity", severity),
                ("severity_score", number()),
            ])),
            ("challenger?", object([
                ("version", string()),
                ("score", number()),
                ("raw_score", number()),
                ("threshold", number()),
                ("flagged", boolean()),
            ])),
        ]),
        "Quantiles": object([
            ("rows", count()), ("min", number()), ("p50", number()), ("p90", number()), ("p99", number()),
            ("p999", number()), ("max", number()),
        ]),
        "Scores": object([("rows", count()), ("flagged", count()), ("quantiles", or_null(reference("Quantiles")))]),
        "AlertCounts": counts,
        "Latency": object([("commits", count()), ("p50", rate()), ("p99", rate())]),
        "Rates": object([
            ("seconds", number()),
            ("records_per_second", rate()),
            ("rows_scored_per_second", rate()),
            ("rows_flagged", count()),
            ("records_rejected", count()),
            ("alerts", reference("AlertCounts")),
            ("latency_seconds", reference("Latency")),
        ]),
        "Comparison": object([
            ("champion", or_null(string())),
            ("challenger", or_null(string())),
            ("compared", count()),
            ("failed", count()),
            ("not_ready", count()),
            ("flagged", object([("both", count()), ("champion", count()), ("challenger", count())])),
            ("agreement", rate()),
            ("window", count()),
            ("rank_correlation", rate()),
            ("champion_scores", or_null(reference("Quantiles"))),
            ("challenger_scores", or_null(reference("Quantiles"))),
        ]),
        "Stats": object([
            ("started_at", millis()),
            ("uptime_seconds", number()),
            ("counts", object([
                ("records", count()), ("records_rejected", count()), ("late", count()), ("duplicates", count()),
                ("candles", count()), ("rows_scored", count()), ("rows_failed", count()), ("rows_flagged", count()),
                ("early_looks", count()), ("alerts", reference("AlertCounts")), ("untold", count()),
            ])),
            ("latency_seconds", reference("Latency")),
            ("windows", object([
                ("1m", reference("Rates")), ("5m", reference("Rates")), ("1h", reference("Rates")),
            ])),
            ("challenger", or_null(object([
                ("alias", string()), ("dropped", count()), ("comparison", reference("Comparison")),
            ]))),
            ("scores", or_null(object([("all", reference("Scores")), ("symbols?", map(reference("Scores")))]))),
        ]),
        "InForce": json!({
            "type": "object",
            "properties": {
                "alias": or_null(string()),
                "uri": or_null(string()),
                "model": or_null(object([
                    ("name", string()), ("version", string()), ("run_id", string()), ("threshold", number()),
                    ("features", list(string())),
                    ("details", json!({ "description": "Parameters, calibration and training: what this kind of model says of itself." })),
                ])),
                "loaded_at": or_null(millis()),
                "last_failure": or_null(object([("version", or_null(string())), ("reason", string()), ("at", millis())])),
                "comparison": reference("Comparison"),
            },
            "required": ["alias", "model", "loaded_at", "last_failure"],
            "additionalProperties": false,
        }),
        "Models": object([
            ("champion", reference("InForce")),
            ("challenger", or_null(reference("InForce"))),
            ("interval", or_null(string())),
        ]),
        "Part": object([
            ("status", json!({ "enum": ["ok", "degraded", "down", "unknown", "off"] })),
            ("latency_ms?", number()), ("age_seconds?", number()), ("error?", string()),
        ]),
        "Health": object([
            ("status", json!({ "enum": ["ok", "degraded", "down"] })),
            ("kafka", reference("Part")), ("registry", reference("Part")), ("storage", reference("Part")),
            ("model", reference("Part")), ("pipeline", reference("Part")), ("time", millis()),
        ]),
        "Invocation": json!({
            "type": "object",
            "properties": {
                "dataframe_split": object([
                    ("columns", list(string())), ("data", list(list(json!({})))), ("index?", or_null(list(json!({})))),
                ]),
                "dataframe_records": list(map(json!({}))),
                "instances": list(json!({ "type": ["object", "array"] })),
                "inputs": json!({ "type": ["object", "array"] }),
                "params": json!({ "type": ["object", "null"], "maxProperties": 0 }),
            },
            "oneOf": [
                { "required": ["dataframe_split"] }, { "required": ["dataframe_records"] },
                { "required": ["instances"] }, { "required": ["inputs"] },
            ],
            "additionalProperties": false,
        }),
        "Invoked": object([("predictions", list(object([
            ("score", number()), ("raw_score", number()), ("flag", boolean()), ("threshold", number()),
        ])))]),
        "Description": json!({ "type": "object" }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_told_and_every_reference_leads_somewhere() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), ROUTES.len());
        for route in ROUTES {
            let operation = &paths[route.path][route.method];
            assert_ne!(operation["summary"], "", "{}", route.path);
        }
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }
}
