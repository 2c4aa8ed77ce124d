//! A registry that is down, dies half-way or talks nonsense; secrets in its address.

use std::time::{Duration, Instant};

use mlflow_api::types::RunStatus;

use crate::lab::{Finished, Lab, table_lab};
use crate::proxy::{Fault, Faulty};

const SECRET: &str = "hunter2-s3cret";

/// Runs against `uri` without much patience, and expects `code`.
fn run_at(lab: &Lab, uri: &str, more: &[&str], code: i32) -> Finished {
    let output = lab
        .trainer(&["run", "x.toml"])
        .args(more)
        .env("MLFLOW_TRACKING_URI", uri)
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .env("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        .output()
        .unwrap();
    Finished::of(output, code)
}

#[test]
fn a_registry_that_is_down_is_named_at_once_and_nothing_begins() {
    let lab = table_lab();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let uri = format!("http://ann:{SECRET}@127.0.0.1:{port}");
    let started = Instant::now();
    // With the patience that users have.
    let output = lab
        .trainer(&["run", "x.toml"])
        .env("MLFLOW_TRACKING_URI", &uri)
        .output()
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    Finished::of(output, 2)
        .says(&[
            &format!("the registry at http://127.0.0.1:{port} doesn't answer"),
            "refused",
        ])
        .hides(SECRET);
    assert!(!lab.path("foreshock").exists(), "nothing was begun");
}

#[test]
fn what_is_no_registry_is_told_from_one_that_fails() {
    for (fault, from, expected) in [
        (
            Fault::Answer(200, "<html>hello</html>"),
            1,
            "doesn't speak MLflow's dialect",
        ),
        (Fault::Answer(500, "<html>oops</html>"), 1, "failed"),
        (Fault::Answer(502, "bad gateway"), 2, "failed"),
        (
            Fault::Answer(401, "who are you?"),
            1,
            "refuses the credentials",
        ),
        (Fault::Answer(403, "not you"), 2, "refuses the credentials"),
        (Fault::Silence, 2, "doesn't answer"),
    ] {
        let lab = table_lab();
        let registry = Faulty::start(lab.folder());
        registry.fail_from(from, fault);
        let uri = registry.uri.replace("://", &format!("://ann:{SECRET}@"));
        run_at(&lab, &uri, &[], 2)
            .says(&[&format!("the registry at {} {expected}", registry.uri)])
            .hides(SECRET);
        registry.heal();
        assert!(registry.runs().is_empty(), "{fault:?}");
        assert!(registry.versions().is_empty(), "{fault:?}");
    }
}

#[test]
fn addresses_that_are_none_are_refused_without_their_secrets() {
    let lab = table_lab();
    for uri in [
        format!("postgresql://ann:{SECRET}@127.0.0.1/db"),
        format!("http://ann:{SECRET}@"),
        format!("http://127.0.0.1:1/?token={SECRET}"),
        format!("http://ann:{SECRET}/@127.0.0.1"),
        "databricks".to_owned(),
    ] {
        run_at(&lab, &uri, &[], 2)
            .says(&["can't use the tracking URI"])
            .hides(SECRET);
    }
}

/// The registry dies at every request in turn, for good; then it is well again.
fn dies_at_every_request(fault: Fault) {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    // Whole runs first: experiment, model and alias are there, and the requests can be counted.
    run_at(&lab, &registry.uri, &[], 0);
    registry.heal();
    run_at(&lab, &registry.uri, &[], 0);
    let n_requests = registry.heal();
    assert!(n_requests > 15, "{n_requests}");
    let mut n_versions = 2;
    for n in 2..=n_requests {
        let n_runs = registry.runs().len();
        registry.fail_from(n, fault);
        let failed = run_at(&lab, &registry.uri, &[], 2);
        failed.says(&["the registry at", "doesn't answer"]);
        registry.heal();

        let begun: Option<String> =
            failed
                .stderr
                .find("repeat the command with --resume")
                .map(|_| {
                    let (_, rest) = failed.stderr.rsplit_once("\nrun ").unwrap();
                    rest.split(' ').next().unwrap().to_owned()
                });
        let run = begun.as_ref().map(|id| {
            let runs = registry.runs();
            runs.into_iter().find(|run| run.info.run_id == *id).unwrap()
        });
        if let Some(run) = &run {
            assert_ne!(run.info.status, Some(RunStatus::Finished), "request {n}");
        }
        let versions = registry.versions();
        let alias = alias_of(&registry);
        if versions.len() > n_versions {
            // A version is never there before all that it's made of.
            let run = run.as_ref().unwrap();
            for file in [
                "model/MLmodel",
                "model/model.foreshock",
                "report/report.html",
            ] {
                assert!(registry.holds(run, file), "request {n}: {file}");
            }
        }
        assert!(versions.iter().any(|version| version.version == alias));
        assert!(
            alias == n_versions.to_string() || versions.len() > n_versions,
            "request {n}: the alias moved to {alias}"
        );

        let finished = run_at(&lab, &registry.uri, &["--resume", "--output", "json"], 0);
        registry.heal();
        let summary = finished.json();
        if let Some(begun) = begun {
            assert_eq!(summary["run_id"], begun.as_str(), "request {n}");
            assert_eq!(registry.runs().len(), n_runs + 1, "request {n}");
        }
        n_versions += 1;
        assert_eq!(
            summary["model_version"],
            n_versions.to_string(),
            "request {n}"
        );
        assert_eq!(registry.versions().len(), n_versions, "request {n}");
        assert_eq!(alias_of(&registry), n_versions.to_string());
        let id = summary["run_id"].as_str().unwrap();
        let run = registry
            .ask(|client| async move { client.get_run(id).await })
            .unwrap();
        assert_eq!(run.info.status, Some(RunStatus::Finished));
        assert!(run.data.tags.iter().all(|tag| tag.key != "foreshock.error"));
        let points = registry
            .ask(|client| async move { client.get_metric_history(id, "test_roc_auc").await })
            .unwrap();
        assert_eq!(points.len(), 1, "request {n}: {points:?}");
    }
}

fn alias_of(registry: &Faulty) -> String {
    registry
        .ask(|client| async move { client.get_by_alias("table", "challenger").await })
        .unwrap()
        .version
}

#[test]
fn a_registry_that_dies_before_any_request_leaves_nothing_half_registered() {
    dies_at_every_request(Fault::Unseen);
}

#[test]
fn a_registry_that_dies_before_any_answer_leaves_nothing_half_registered() {
    dies_at_every_request(Fault::Unanswered);
}

#[test]
fn no_secret_reaches_a_log_an_artifact_or_a_tag() {
    let lab = table_lab();
    let registry = Faulty::start(lab.folder());
    let uri = registry.uri.replace("://", &format!("://ann:{SECRET}@"));
    let output = lab
        .trainer(&["run", "x.toml", "--scores", "scores.parquet"])
        .env("MLFLOW_TRACKING_URI", &uri)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    // `ann:hunter2-s3cret` as the header has it.
    let header = "YW5uOmh1bnRlcjItczNjcmV0";
    Finished::of(output, 0).hides(SECRET).hides(header);
    let mut folders = vec![lab.folder().to_owned()];
    let mut n_files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            n_files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let holds = bytes
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes());
            assert!(!holds, "{}", path.display());
        }
    }
    assert!(n_files > 15, "artifacts and the database were looked at");
}
