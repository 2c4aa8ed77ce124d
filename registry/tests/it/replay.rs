//! What MLflow's own server answered, asked of ours.
//!
//! `tests/mlflow_client/record_scenarios.py` recorded the requests and answers; `${x}` stands for
//! what an earlier answer had of its own.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::harness::{Server, serve};

const SCENARIOS: &str = include_str!("../fixtures/scenarios.jsonl");

#[derive(Deserialize)]
struct Step {
    step: String,
    method: String,
    path: String,
    body: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    keep: BTreeMap<String, String>,
    status: u16,
    answer: Value,
}

/// Steps where ours answers otherwise on purpose, and why.
const DELIBERATE: &[(&str, &str)] = &[
    (
        "experiment_search 22",
        "a page's size has a default, as in every other search",
    ),
    (
        "experiment_search 25",
        "an unknown view is refused; the reference shows the active ones",
    ),
    (
        "runs 21",
        "an unknown status is refused; the reference changes nothing and says 200",
    ),
    (
        "metrics 20",
        "a time that is no integer is refused; the reference logs the point at 0",
    ),
    (
        "metrics 36",
        "a run that is not there has no history, not an empty one",
    ),
    (
        "batches 17",
        "a value that is no number is refused; the reference logs nothing and says 200",
    ),
    (
        "batches 20",
        "a parameter that is no text is refused; the reference logs an empty one",
    ),
    (
        "run_search 32",
        "sorting twice by one field is the caller's mistake: 400, not 500",
    ),
    ("run_search 40", "a lone experiment is a list of one"),
    ("registered_models 44", "a page of none leads nowhere"),
    (
        "registered_models 45",
        "a page of less than none leads nowhere",
    ),
    ("model_versions 55", "the caller's mistake: 400, not 500"),
    (
        "logged_models 12",
        "the path names the model; the body need not do it again",
    ),
    (
        "logged_models 13",
        "the answer is the model with its new tags, as its description promises",
    ),
    (
        "logged_models 20",
        "a point is kept whatever becomes of the model that it names",
    ),
    (
        "logged_models 37",
        "a bad token is the caller's mistake: 400, not 500",
    ),
    (
        "logged_models 39",
        "no experiments have no models, whether the list is empty or missing",
    ),
    ("logged_models 42", "a deleted model is not there"),
    (
        "dialect 9",
        "a body that is no message is the caller's mistake: 400, not 500",
    ),
    (
        "dialect 17",
        "camelCase is read everywhere; the reference forgets it in its checks",
    ),
    (
        "dialect 23",
        "one parameter with two values is refused; the reference takes the first",
    ),
    ("data_sets 14", "a data set has a name"),
    ("data_sets 15", "a data set has a digest"),
    ("data_sets 20", "an input has a data set"),
    ("data_sets 21", "a data set has a digest"),
    ("data_sets 24", "a tag has a key"),
    ("traces 11", "a trace that is not there is not found"),
    ("traces 36", "a time is no text"),
    (
        "traces 42",
        "sorting twice by one field says nothing new; the reference fails with 500",
    ),
    ("traces 54", "a search of traces names where to look"),
    ("webhooks 5", "a page of none leads nowhere"),
    ("webhooks 21", "the caller's mistake: 400, not 500"),
    ("webhooks 22", "the caller's mistake: 400, not 500"),
    ("webhooks 23", "the caller's mistake: 400, not 500"),
];

/// What ours answers where it differs: the text for the test's message.
async fn play(
    server: &Server,
    step: &Step,
    known: &mut BTreeMap<String, String>,
) -> Option<String> {
    let fill = |text: &str| {
        known.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
    };
    let url = format!("{}{}", server.url, fill(&step.path));
    let method = step.method.parse().unwrap();
    let mut request = reqwest::Client::new().request(method, url);
    if let Some(kind) = &step.content_type {
        request = request.header("content-type", kind);
    }
    if let Some(body) = &step.body {
        request = request.body(fill(body));
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_default();
    for (name, path) in &step.keep {
        let value = path.split('.').fold(&answer, |value, part| &value[part]);
        let Some(value) = value.as_str() else {
            return Some(format!("{path} is missing: {status} {text}"));
        };
        known.insert(name.clone(), value.to_owned());
    }
    if status >= 400 {
        let code = answer["error_code"].clone();
        // Ours says JSON where the reference sends a page.
        let bare = step.answer.is_null() || code.is_null();
        answer = if bare {
            Value::Null
        } else {
            json!({ "error_code": code })
        };
    }
    let nothing = |value: Value| {
        if value == json!({}) {
            Value::Null
        } else {
            value
        }
    };
    let ours = nothing(ordered(normalised(&answer, known)));
    let theirs = nothing(ordered(step.answer.clone()));
    (status != step.status || ours != theirs).then(|| {
        format!(
            "ours   {status} {ours}\n  theirs {} {theirs}\n  {text:.300}",
            step.status
        )
    })
}

/// Puts placeholders where an answer has something of its own.
fn normalised(value: &Value, known: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), normalised(value, known)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(|v| normalised(v, known)).collect(),
        Value::String(text) => Value::String(placeholders(text, known)),
        Value::Number(number) if is_now(number.as_i64()) => json!("${time}"),
        other => other.clone(),
    }
}

fn placeholders(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut longest: Vec<_> = known.iter().collect();
    longest.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    longest.iter().fold(text.to_owned(), |text, (name, value)| {
        let name = format!("${{{name}}}");
        if value.len() >= 16 {
            return text.replace(value.as_str(), &name);
        }
        // A short one, such as an experiment's number, only as a whole part.
        let parts = text.split('/').map(|part| {
            if part == value.as_str() {
                name.as_str()
            } else {
                part
            }
        });
        parts.collect::<Vec<_>>().join("/")
    })
}

fn is_now(number: Option<i64>) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let now = i64::try_from(now).unwrap();
    number.is_some_and(|number| number.abs_diff(now) < 3_600_000)
}

/// What may differ in every answer: lists of keys and values have no order of their own, an empty
/// message is an absent one, tokens are opaque, and our versions name their aliases everywhere.
fn ordered(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_version = fields.contains_key("current_stage");
            let fields = fields.into_iter().filter(|(key, value)| {
                let empty = value.as_object().is_some_and(Map::is_empty);
                !(empty || is_version && key == "aliases")
            });
            let fields = fields.map(|(key, value)| match key.as_str() {
                "next_page_token" => (key, json!("${token}")),
                _ => (key, ordered(value)),
            });
            Value::Object(fields.collect())
        }
        Value::Array(values) => {
            let mut values: Vec<Value> = values.into_iter().map(ordered).collect();
            let label = |value: &Value| {
                let label = value.get("key").or_else(|| value.get("alias"))?;
                // Points of one metric keep their order.
                Some((label.to_string(), value.get("step").is_some()))
            };
            if values.iter().all(|value| label(value).is_some()) {
                values.sort_by_key(|value| label(value));
            }
            values.into()
        }
        // 1 and 1.0 are one number.
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                json!(float as i64)
            }
            _ => Value::Number(number),
        },
        other => other,
    }
}

#[tokio::test]
async fn ours_answers_as_the_reference_did() {
    let server = serve().await;
    let mut known = BTreeMap::new();
    let mut differences = Vec::new();
    let mut deliberate = 0;
    for line in SCENARIOS.lines() {
        let step: Step = serde_json::from_str(line).unwrap();
        let difference = play(&server, &step, &mut known).await;
        let meant = DELIBERATE.iter().any(|(name, _)| *name == step.step);
        match difference {
            Some(_) if meant => deliberate += 1,
            Some(difference) => {
                let body: String = step.body.unwrap_or_default().chars().take(200).collect();
                differences.push(format!(
                    "{}: {} {} {body}\n  {difference}",
                    step.step, step.method, step.path
                ));
            }
            None => assert!(!meant, "{} is listed, but doesn't differ", step.step),
        }
    }
    assert_eq!(deliberate, DELIBERATE.len(), "a listed step is gone");
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
