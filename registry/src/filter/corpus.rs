//! The parser beside MLflow's own, over thousands of filters and orders that
//! `tests/mlflow_client/make_filter_corpus.py` had MLflow's stores judge.

use serde_json::{Value as Json, json};

use super::{
    Clause, EXPERIMENTS, Field, Grammar, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS,
    TRACES, Value, parse, parse_order_by,
};

const CORPUS: &str = include_str!("../../tests/fixtures/filters.jsonl");

fn grammar(resource: &str) -> &'static Grammar {
    match resource {
        "runs" => &RUNS,
        "experiments" => &EXPERIMENTS,
        "registered_models" => &REGISTERED_MODELS,
        "model_versions" => &MODEL_VERSIONS,
        "logged_models" => &LOGGED_MODELS,
        "traces" => &TRACES,
        other => panic!("no grammar for {other}"),
    }
}

fn field(field: &Field) -> (&'static str, String) {
    match field {
        // The unit is part of our column's name.
        Field::Attribute(name) => ("attribute", name.trim_end_matches("_ms").to_owned()),
        Field::Metric(key) => ("metric", key.clone()),
        Field::Param(key) => ("parameter", key.clone()),
        Field::Tag(key) => ("tag", key.clone()),
        Field::Dataset(key) => ("dataset", (*key).to_owned()),
        Field::Span(key) => ("span", key.clone()),
        Field::Assessment(kind, key) => (*kind, key.clone()),
    }
}

fn spelled(clause: &Clause) -> Json {
    let (kind, key) = field(&clause.field);
    let value = match &clause.value {
        Value::None => Json::Null,
        Value::Text(text) => json!(text),
        Value::Int(int) => json!(int),
        Value::Float(float) => json!(float),
        Value::List(texts) => json!(texts),
    };
    json!([kind, key, clause.op.as_str(), value])
}

/// Numbers are compared by value: 1 and 1.0 are one thing.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn ours(resource: &str, kind: &str, text: &str) -> Json {
    let grammar = grammar(resource);
    if kind == "filter" {
        return match parse(grammar, text) {
            Ok(clauses) => clauses.iter().map(spelled).collect(),
            Err(_) => Json::Null,
        };
    }
    match parse_order_by(grammar, text) {
        Ok(order) => {
            let (kind, key) = field(&order.field);
            json!([kind, key, order.ascending])
        }
        Err(_) => Json::Null,
    }
}

/// What ours and MLflow's own make of one text.
struct Difference<'a> {
    resource: &'a str,
    kind: &'a str,
    text: &'a str,
    ours: &'a Json,
    theirs: &'a Json,
}

impl Difference<'_> {
    fn logged_model(&self) -> bool {
        self.resource == "logged_models"
    }

    fn trace(&self) -> bool {
        self.resource == "traces"
    }

    /// Whether MLflow alone takes it.
    fn refused(&self) -> bool {
        self.ours.is_null()
    }

    /// Whether we alone take it.
    fn accepted(&self) -> bool {
        self.theirs.is_null()
    }

    /// One of the clauses that MLflow saw.
    fn any(&self, what: impl Fn(&str, &str, &Json) -> bool) -> bool {
        let clauses = self
            .theirs
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let whole = [self.theirs.clone()];
        let clauses = if self.kind == "order" {
            &whole
        } else {
            clauses
        };
        clauses.iter().any(|clause| {
            let text = |i: usize| clause[i].as_str().unwrap_or_default().to_owned();
            what(
                &text(0),
                &text(1),
                &clause[clause.as_array().map_or(0, Vec::len) - 1],
            )
        })
    }

    /// `.word` or a word that stands alone, in any case.
    fn names(&self, words: &[&str]) -> bool {
        self.text
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|part| words.iter().any(|word| word.eq_ignore_ascii_case(part)))
    }
}

/// When something was or how long it took, of traces.
const TIMES: &[&str] = &[
    "timestamp",
    "timestamp_ms",
    "execution_time",
    "execution_time_ms",
    "end_time",
    "end_time_ms",
];

type Reason = (&'static str, fn(&Difference<'_>) -> bool);

/// Where ours differs on purpose; each of them must occur.
const DELIBERATE: &[Reason] = &[
    (
        "a doubled quote is one quote, as in SQL: MLflow keeps both, and no text with a quote can be found",
        |d| !d.refused() && !d.accepted() && d.text.contains("''"),
    ),
    (
        "double quotes around a logged model's text or key are no part of it",
        |d| !d.refused() && !d.accepted() && d.logged_model() && d.text.contains('"'),
    ),
    (
        "a quoted part within a key (a.`b`) loses its quotes: no key can contain one",
        |d| !d.accepted() && d.any(|_, key, _| key.contains(['`', '"', '\''])),
    ),
    ("no key is empty", |d| {
        d.refused() && d.any(|_, key, _| key.is_empty())
    }),
    (
        "a key with signs that no key has (MLflow takes what stands between spaces)",
        |d| {
            d.refused()
                && d.any(|_, key, _| key.contains(['%', '$', '@', '#', '\\', '-', '/', '*']))
        },
    ),
    (
        "a backslash ends nothing: '\\' is a text of one backslash, not the start of another text",
        |d| d.refused() && d.text.contains("\\'"),
    ),
    (
        "a list is flat, not empty and of quoted texts (MLflow evaluates it as Python)",
        |d| {
            d.refused()
                && d.any(|_, _, value| value.is_array())
                && (d.text.contains("((")
                    || d.text.contains("()")
                    || d.text.contains("' '")
                    || d.any(|_, _, value| {
                        value
                            .as_array()
                            .is_some_and(|v| v.iter().any(|v| !v.is_string()))
                    }))
        },
    ),
    ("a logged model's text is quoted, as everywhere", |d| {
        d.refused()
            && d.logged_model()
            && d.any(|kind, _, value| {
                let value = value.as_str().unwrap_or("''");
                kind != "metric" && !d.text.contains(&format!("'{value}'"))
            })
    }),
    (
        "logged models are searched within experiments already",
        |d| d.refused() && d.logged_model() && d.names(&["experiment_id"]),
    ),
    (
        "versions can't be sorted by tags (MLflow takes a tag for an attribute of that name)",
        |d| d.refused() && d.kind == "order" && d.any(|kind, _, _| kind == "tag"),
    ),
    ("keys may be words of SQL", |d| {
        d.accepted() && d.names(&["from", "in", "select", "like", "and", "null", "max"])
    }),
    ("keys may begin with digits", |d| {
        d.accepted()
            && d.text
                .split('.')
                .any(|part| part.starts_with(|c: char| c.is_ascii_digit()))
    }),
    ("a number may have a plus, also in its exponent", |d| {
        d.accepted() && d.text.contains('+')
    }),
    (
        "quotes around an attribute or an entity change nothing",
        |d| d.accepted() && (d.text.contains('`') || d.text.contains('"')),
    ),
    (
        "comparators of experiments are read in any case, as those of all others",
        |d| {
            d.accepted()
                && d.resource == "experiments"
                && (d.text.contains("like") || d.text.contains("iLike") || d.text.contains(" in "))
        },
    ),
    (
        "models are sorted by creation too, as MLflow's store of files does",
        |d| d.accepted() && d.resource == "registered_models" && d.names(&["creation_timestamp"]),
    ),
    ("spaces at an order's end mean nothing", |d| {
        d.accepted() && d.kind == "order" && d.text.ends_with(' ')
    }),
    ("attribute.x of a model is x, in orders too", |d| {
        d.accepted() && d.resource == "registered_models" && d.text.starts_with("attribute.")
    }),
    ("attributes.x of a logged model is x", |d| {
        d.accepted() && d.logged_model() && d.text.contains("attributes.")
    }),
    ("a trace's time is no text", |d| {
        d.refused() && d.trace() && d.any(|_, key, value| TIMES.contains(&key) && value.is_string())
    }),
    (
        "regular expressions are left out: one of them can keep a server busy for hours",
        |d| d.refused() && d.trace() && d.names(&["rlike"]),
    ),
    (
        "a trace's time may be compared with any number, as a run's",
        |d| d.accepted() && d.trace() && d.names(TIMES),
    ),
    ("comparators of spans are read in any case", |d| {
        d.accepted() && d.trace() && d.names(&["span"])
    }),
    (
        "what is said of traces may be compared with texts in every way",
        |d| d.accepted() && d.trace() && d.names(&["feedback", "expectation"]),
    ),
    ("a trace's id has its own name too", |d| {
        d.accepted() && d.trace() && d.names(&["trace_id"])
    }),
];

#[test]
fn filters_mean_what_they_mean_to_mlflow() {
    let mut differences = Vec::new();
    let mut used = vec![0; DELIBERATE.len()];
    let mut accepted = 0;
    for line in CORPUS.lines() {
        let entry: Json = serde_json::from_str(line).unwrap();
        let [
            Json::String(resource),
            Json::String(kind),
            Json::String(text),
            theirs,
        ] = entry.as_array().unwrap().as_slice()
        else {
            panic!("{line}");
        };
        let ours = ours(resource, kind, text);
        accepted += usize::from(!theirs.is_null());
        if same(&ours, theirs) {
            continue;
        }
        let difference = Difference {
            resource,
            kind,
            text,
            ours: &ours,
            theirs,
        };
        match DELIBERATE.iter().position(|(_, holds)| holds(&difference)) {
            Some(reason) => used[reason] += 1,
            None => differences.push(format!(
                "{resource} {kind} {text:?}\n  ours   {ours}\n  theirs {theirs}"
            )),
        }
    }
    assert!(accepted > 1500, "{accepted}");
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
    for (count, (reason, _)) in used.iter().zip(DELIBERATE) {
        assert!(*count > 0, "never needed: {reason}");
    }
}
