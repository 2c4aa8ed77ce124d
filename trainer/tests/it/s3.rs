//! Data and scores on S3.

use std::time::{Duration, Instant};

use test_stack::S3Server;

use crate::lab::{Finished, Lab, table_lab, table_rows};

/// A run with the server's environment, changed by `changes` (`None` unsets), expected to end with `code`.
fn run_with(
    lab: &Lab,
    server: &S3Server,
    changes: &[(&str, Option<&str>)],
    arguments: &[&str],
    code: i32,
) -> Finished {
    let mut command = lab.trainer(arguments);
    command.envs(server.env());
    for (name, value) in changes {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let finished = Finished::of(command.output().unwrap(), code);
    finished.hides(&server.secret_key);
    finished
}

fn server() -> S3Server {
    let server = S3Server::start().unwrap();
    server.create_bucket("history").unwrap();
    let rows = table_rows();
    let (first, second) = rows[1..].split_at(300);
    for (key, part) in [("t/2024-01.csv", first), ("t/2024-02.csv", second)] {
        let text = format!("{}\n{}\n", rows[0], part.join("\n"));
        server.put_object("history", key, text.as_bytes()).unwrap();
    }
    server
}

#[test]
fn a_run_reads_globs_and_writes_scores_as_it_does_on_disk() {
    let lab = table_lab();
    let server = server();
    let local = lab.run_json("x.toml", &["--scores", "scores.parquet"]);
    let text = std::fs::read_to_string(lab.path("x.toml")).unwrap();
    lab.write(
        "s3.toml",
        &text.replace("table.csv", "s3://history/t/*.csv"),
    );
    let arguments = [
        "run",
        "s3.toml",
        "--output",
        "json",
        "--scores",
        "s3://history/out/scores.parquet",
    ];
    let remote = run_with(&lab, &server, &[], &arguments, 0).json();
    assert_eq!(remote["metrics"], local["metrics"]);
    assert_eq!(
        server.get_object("history", "out/scores.parquet").unwrap(),
        std::fs::read(lab.path("scores.parquet")).unwrap()
    );
    // The scores are Parquet, and can be read from there like any table.
    let read_back = [
        "run",
        "x.toml",
        "--data",
        "s3://history/out/scores.parquet",
        "--output",
        "json",
        "--set",
        "data.time=\"time\"",
        "--set",
        "features.use=[\"score\"]",
    ];
    let read_back = run_with(&lab, &server, &[], &read_back, 0).json();
    assert!(read_back["metrics"]["test_roc_auc"].is_f64());
    let id = remote["run_id"].as_str().unwrap();
    let reproduced = run_with(
        &lab,
        &server,
        &[],
        &["reproduce", id, "--output", "json"],
        0,
    );
    assert_eq!(reproduced.json()["identical"], true);
}

#[test]
fn what_is_missing_is_the_inputs_fault() {
    let lab = table_lab();
    let server = server();
    for uri in [
        "s3://history/t/2024-03.csv",
        "s3://history/t/*.parquet",
        "s3://nowhere/t/2024-01.csv",
        "s3://nowhere/",
    ] {
        run_with(&lab, &server, &[], &["run", "x.toml", "--data", uri], 1).says(&[uri]);
    }
    assert!(!lab.path("foreshock").exists(), "nothing was begun");
}

#[test]
fn credentials_and_endpoints_are_the_environments_fault() {
    let lab = table_lab();
    let server = server();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let closed = format!("http://127.0.0.1:{port}");
    let data = ["run", "x.toml", "--data", "s3://history/t/*.csv"];
    let one = ["run", "x.toml", "--data", "s3://history/t/2024-01.csv"];
    let scores = ["run", "x.toml", "--scores", "s3://history/scores.parquet"];
    let wrong = "an0ther-secret";
    for arguments in [&data, &one, &scores] {
        let uri = arguments[3];
        let none = [("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None)];
        run_with(&lab, &server, &none, arguments, 2)
            .says(&[&format!("no credentials for `{uri}`"), "AWS_ACCESS_KEY_ID"]);
        let denied = run_with(
            &lab,
            &server,
            &[("AWS_SECRET_ACCESS_KEY", Some(wrong))],
            arguments,
            2,
        );
        denied.says(&[uri, "was denied"]).hides(wrong);
        let started = Instant::now();
        let elsewhere = [("AWS_ENDPOINT_URL", Some(closed.as_str()))];
        run_with(&lab, &server, &elsewhere, arguments, 2).says(&[uri]);
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}
