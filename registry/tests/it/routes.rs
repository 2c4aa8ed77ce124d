//! Every endpoint of MLflow's own server, asked of ours: `docs/mlflow-routes.md` is the outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use registry::api::refused::{ON_PURPOSE, REFUSED};
use registry::api::routes::ROUTES;
use reqwest::Method;
use serde_json::Value;

use crate::harness::{Server, serve};

/// Written by `tests/mlflow_client/make_route_list.py`.
const MLFLOW: &str = include_str!("../fixtures/mlflow_routes.txt");

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Served,
    Refused(String),
    Unknown,
}

/// A path with something in place of its parameters.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.split_once('{') {
        Some((before, after)) => {
            let after = after.split_once('}').map_or("", |(_, after)| after);
            format!("{before}m-0{after}")
        }
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

async fn ask(server: &Server, method: &str, path: &str) -> Outcome {
    let request = reqwest::Client::new()
        .request(
            Method::from_bytes(method.as_bytes()).unwrap(),
            format!("{}{}", server.url, filled(path)),
        )
        .header("content-type", "application/json");
    let request = if method == "GET" {
        request
    } else {
        request.body("{}")
    };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or_default();
    match (status, body["error_code"].as_str().unwrap_or_default()) {
        (501, "NOT_IMPLEMENTED") if message.starts_with(ON_PURPOSE) => {
            Outcome::Refused(message.to_owned())
        }
        // What a bucket can and the folder of this server can't.
        (501, "NOT_IMPLEMENTED") if path.contains("/mlflow-artifacts/presigned/") => {
            Outcome::Served
        }
        (404, "ENDPOINT_NOT_FOUND") | (405, _) => Outcome::Unknown,
        (status, code) => {
            assert!(status < 500, "{method} {path}: {status} {code}");
            Outcome::Served
        }
    }
}

/// `/api/x` and `/ajax-api/x` are one row: (path below them, method) and where it is.
type Rows = BTreeMap<(String, String), (BTreeSet<&'static str>, Outcome)>;

fn split(path: &str) -> (&'static str, &str) {
    for prefix in ["/ajax-api", "/api"] {
        if let Some(rest) = path.strip_prefix(prefix) {
            return (prefix, rest);
        }
    }
    ("", path)
}

async fn rows() -> Rows {
    let server = serve().await;
    let mut rows = Rows::new();
    for line in MLFLOW.lines() {
        let (method, path) = line.split_once(' ').unwrap();
        let outcome = ask(&server, method, path).await;
        let (prefix, rest) = split(path);
        let row = rows
            .entry((rest.to_owned(), method.to_owned()))
            .or_insert_with(|| (BTreeSet::new(), outcome.clone()));
        assert_eq!(row.1, outcome, "{line} answers otherwise elsewhere");
        assert!(row.0.insert(prefix), "{line} is listed twice");
    }
    rows
}

fn page(rows: &Rows) -> String {
    let count = |served| {
        rows.values()
            .filter(|row| (row.1 == Outcome::Served) == served)
            .count()
    };
    let mut page = format!(
        "# MLflow's routes\n\n\
         Every endpoint of MLflow 3.17.2's own server, and what this one does with it: {} are served, \
         {} are left out on purpose and answer 501 with the reason. A test asks the server for each of \
         them and holds this page against the answers; `FORESHOCK_BLESS=1 cargo test -p registry \
         routes` writes it anew.\n\n\
         | method | path | under | here |\n| --- | --- | --- | --- |\n",
        count(true),
        count(false),
    );
    for ((path, method), (prefixes, outcome)) in rows {
        let under: Vec<_> = prefixes.iter().filter(|p| !p.is_empty()).copied().collect();
        let here = match outcome {
            Outcome::Served => "served".to_owned(),
            Outcome::Refused(message) => {
                let why = message.split_once(": ").map_or("", |(_, why)| why);
                format!("501: {}", why.trim_end_matches('.'))
            }
            Outcome::Unknown => "unknown".to_owned(),
        };
        let path = path.replace('|', "\\|");
        writeln!(
            page,
            "| {method} | `{path}` | {} | {here} |",
            under.join(", ")
        )
        .unwrap();
    }
    page
}

#[tokio::test]
async fn every_endpoint_of_mlflow_is_served_or_refused_as_the_page_says() {
    let rows = rows().await;
    let unknown: Vec<_> = rows
        .iter()
        .filter(|(_, row)| row.1 == Outcome::Unknown)
        .map(|(key, _)| key)
        .collect();
    assert!(
        unknown.is_empty(),
        "neither served nor refused: {unknown:?}"
    );
    let page = page(&rows);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mlflow-routes.md");
    if std::env::var_os("FORESHOCK_BLESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    for line in page.lines() {
        assert!(
            written.contains(line),
            "docs/mlflow-routes.md lacks: {line}"
        );
    }
    assert_eq!(written.lines().count(), page.lines().count());
}

#[tokio::test]
async fn the_router_serves_its_own_table() {
    let server = serve().await;
    for route in ROUTES {
        for prefix in ["/api", "/ajax-api"] {
            let path = format!("{prefix}/{}{}", route.version, route.path);
            let method = route.method.to_uppercase();
            assert_eq!(
                ask(&server, &method, &path).await,
                Outcome::Served,
                "{method} {path}"
            );
        }
    }
}

#[test]
fn every_refusal_is_about_something_of_mlflows() {
    for refused in REFUSED {
        for pattern in refused.paths {
            let lone = registry::api::refused::Refused {
                paths: std::slice::from_ref(pattern),
                why: "",
            };
            let about = MLFLOW
                .lines()
                .filter_map(|line| line.split_once(' '))
                .any(|(_, path)| lone.covers(&filled(path)));
            assert!(about, "{pattern} is no path of MLflow's");
        }
    }
}
