//! Purging, backups and the doctor, as the program does them beside a living server.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::import::{fill, seen, send};
use crate::harness::{Server, database_of, on_postgres, serve, serve_in};

/// Runs the program on a server's registry.
async fn tool(folder: &Path, args: &[&str]) -> Output {
    let (database, _postgres) = database_of(folder);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_registry"));
    command.args(args).args(["--backend-store-uri", &database]);
    if !matches!(args[0], "backup" | "restore") {
        command
            .arg("--artifacts-destination")
            .arg(folder.join("artifacts"));
    }
    command.output().await.unwrap()
}

async fn tool_json(folder: &Path, args: &[&str], code: i32) -> Value {
    let args = [&["--output", "json"], args].concat();
    let (database, _postgres) = database_of(folder);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_registry"));
    command.args(&args).args(["--backend-store-uri", &database]);
    command
        .arg("--artifacts-destination")
        .arg(folder.join("artifacts"));
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let text = String::from_utf8_lossy(&output.stdout);
    // One document, whatever it says.
    serde_json::from_str(&text).unwrap()
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_was_deleted_is_purged_for_good() {
    let server = serve().await;
    fill(&server).await;
    let before = seen(&server, "").await;
    let artifacts = server.folder.join("artifacts");
    let files = files_below(&artifacts).len();

    let young = tool_json(&server.folder, &["gc", "--older-than", "1d"], 0).await;
    assert_eq!(young["purged"], json!([]));
    let plan = tool_json(&server.folder, &["gc", "--dry-run"], 0).await;
    assert_eq!(seen(&server, "").await, before);
    assert_eq!(files_below(&artifacts).len(), files);

    let done = tool_json(&server.folder, &["gc"], 0).await;
    assert_eq!(done["purged"], plan["purged"]);
    let kinds = |kind: &str| {
        let purged = done["purged"].as_array().unwrap();
        purged.iter().filter(|thing| thing["kind"] == kind).count()
    };
    // A deleted run of each experiment that stays, and all of the one that goes.
    assert_eq!(
        (kinds("run"), kinds("logged model"), kinds("experiment")),
        (5, 1, 1)
    );
    let after = seen(&server, "").await;
    let mut expected = before.clone();
    expected.retain(|key, value| {
        let purged = done["purged"].as_array().unwrap();
        let gone = |id: &str| purged.iter().any(|thing| thing["id"] == id);
        let owner = key.split(' ').nth(1).unwrap();
        let model = key.split(' ').nth(2).unwrap_or_default();
        let deleted = value[0] == "deleted" && key.starts_with("experiment");
        !(gone(owner) || gone(model) || deleted)
    });
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    assert_eq!(after, expected);
    // Three files of each run, one of the model.
    assert_eq!(files_below(&artifacts).len(), files - 5 * 3 - 1);

    let again = tool_json(&server.folder, &["gc"], 0).await;
    assert_eq!(again["purged"], json!([]));
    // The name can be used again, with another number.
    let created = send(
        &server,
        "POST",
        "experiments/create",
        json!({"name": "gone"}),
    )
    .await;
    assert_eq!(created["experiment_id"], "4");
}

#[tokio::test]
async fn only_what_is_named_and_deleted_is_purged() {
    let server = serve().await;
    fill(&server).await;
    let before = seen(&server, "").await;
    for args in [
        &["gc", "--experiment-ids", "1"],
        &["gc", "--experiment-ids", "99"],
        &["gc", "--run-ids", "nothing"],
    ] {
        let output = tool(&server.folder, args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
    assert_eq!(seen(&server, "").await, before);
    let done = tool_json(&server.folder, &["gc", "--experiment-ids", "3"], 0).await;
    assert_eq!(done["purged"].as_array().unwrap().len(), 3 + 1 + 1);
    let output = tool(&server.folder, &["gc", "--older-than", "soon"]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn files_of_registered_versions_are_kept() {
    let server = serve().await;
    let run = server.run().await.info;
    let uri = run.artifact_uri.unwrap();
    let client = &server.client;
    client
        .upload_artifact(&uri, "model/MLmodel", "x".to_owned())
        .await
        .unwrap();
    client.ensure_registered_model("m").await.unwrap();
    let source = format!("{uri}/model");
    client
        .create_model_version("m", &source, Some(&run.run_id), vec![], None)
        .await
        .unwrap();
    send(
        &server,
        "POST",
        "runs/delete",
        json!({"run_id": run.run_id}),
    )
    .await;
    let done = tool_json(&server.folder, &["gc"], 0).await;
    assert_eq!(done["purged"], json!([]));
    assert!(done["kept"][0]["note"].as_str().unwrap().contains("m/1"));
    client.download_artifact(&source, "MLmodel").await.unwrap();
    let done = tool_json(&server.folder, &["gc", "--including-registered"], 0).await;
    assert_eq!(done["purged"][0]["id"], json!(run.run_id));
    assert!(client.download_artifact(&source, "MLmodel").await.is_err());
    // The doctor sees what that broke.
    let found = tool_json(&server.folder, &["doctor"], 1).await;
    assert!(finding(&found, "files of models").contains("version 1 of `m`"));
}

fn finding<'f>(found: &'f Value, check: &str) -> &'f str {
    let findings = found["findings"].as_array().unwrap();
    let one = findings.iter().find(|finding| finding["check"] == check);
    one.unwrap()["detail"].as_str().unwrap()
}

fn level<'f>(found: &'f Value, check: &str) -> &'f str {
    let findings = found["findings"].as_array().unwrap();
    let one = findings.iter().find(|finding| finding["check"] == check);
    one.unwrap()["level"].as_str().unwrap()
}

/// Changes a database behind the registry's back.
async fn sql(server: &Server, text: &'static str) {
    let (database, _postgres) = database_of(&server.folder);
    if on_postgres() {
        let pool = sqlx::PgPool::connect(&database).await.unwrap();
        sqlx::query(text).execute(&pool).await.unwrap();
        pool.close().await;
    } else {
        let pool = sqlx::SqlitePool::connect(&format!(
            "sqlite://{}",
            server.folder.join("registry.db").display()
        ))
        .await
        .unwrap();
        sqlx::query(text).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

#[tokio::test]
async fn a_healthy_registry_has_no_problems() {
    let server = serve().await;
    fill(&server).await;
    // An attachment of a trace, where its tag `mlflow.artifactLocation` says.
    let location = "mlflow-artifacts:/1/traces/tr-1/artifacts";
    let upload = server
        .client
        .upload_artifact(location, "a.png", "x".to_owned());
    upload.await.unwrap();
    let found = tool_json(&server.folder, &["doctor"], 0).await;
    assert_eq!(found["problems"], 0, "{found}");
    for check in [
        "counters",
        "latest metrics",
        "orphaned files",
        "files of models",
        "clock",
    ] {
        assert_eq!(level(&found, check), "ok", "{found}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_found_and_put_right() {
    let server = serve().await;
    let run_id = fill(&server).await;
    // The points are where the doctor looks once they are folded.
    let healthy = tool_json(&server.folder, &["doctor"], 0).await;
    assert_eq!(level(&healthy, "latest metrics"), "ok");
    sql(
        &server,
        "UPDATE latest_metrics SET value = 17 WHERE key = 'loss'",
    )
    .await;
    sql(&server, "DELETE FROM latest_metrics WHERE key = 'acc'").await;
    sql(&server, "UPDATE counters SET value = 1").await;
    let stray = server.folder.join("artifacts/1/nobody/artifacts");
    std::fs::create_dir_all(&stray).unwrap();
    std::fs::write(stray.join("x"), "x").unwrap();
    let found = tool_json(&server.folder, &["doctor"], 1).await;
    assert_eq!(level(&found, "latest metrics"), "problem");
    assert_eq!(level(&found, "counters"), "problem");
    assert!(
        finding(&found, "counters").contains("experiment (should be 3)"),
        "{found}"
    );
    assert!(
        finding(&found, "orphaned files").starts_with("1/nobody "),
        "{found}"
    );

    let fixed = tool_json(&server.folder, &["doctor", "--fix"], 0).await;
    assert_eq!(level(&fixed, "latest metrics"), "fixed");
    assert_eq!(level(&fixed, "counters"), "fixed");
    let found = tool_json(&server.folder, &["doctor"], 0).await;
    assert_eq!(level(&found, "latest metrics"), "ok");
    let run = server.client.get_run(&run_id).await.unwrap();
    let loss = run
        .data
        .metrics
        .iter()
        .find(|metric| metric.key == "loss")
        .unwrap();
    assert_eq!((loss.value, loss.step), (1.0 / 200.0, 199));
    assert!(run.data.metrics.iter().any(|metric| metric.key == "acc"));
    let created = send(
        &server,
        "POST",
        "experiments/create",
        json!({"name": "next"}),
    )
    .await;
    assert_eq!(created["experiment_id"], "4");
}

#[tokio::test]
async fn a_backup_is_whole_and_comes_back() {
    let server = serve().await;
    fill(&server).await;
    let file = server.folder.join("backup.db");
    let file = file.to_str().unwrap();
    if on_postgres() {
        let output = tool(&server.folder, &["backup", file]).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("pg_dump"));
        return;
    }
    let before = seen(&server, "").await;
    // Somebody writes all the while.
    let run = server.run().await.info.run_id;
    let writer = {
        let client = server.client.clone();
        let run = run.clone();
        tokio::spawn(async move {
            for step in 0..200 {
                client.log_metric(&run, "m", 1.0, step, step).await.unwrap();
            }
        })
    };
    let output = tool(&server.folder, &["backup", file]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    writer.await.unwrap();
    let output = tool(&server.folder, &["backup", file]).await;
    assert_eq!(output.status.code(), Some(1), "it was overwritten");

    send(
        &server,
        "DELETE",
        "registered-models/delete",
        json!({"name": "greet"}),
    )
    .await;
    for args in [&["restore", file][..], &["restore", file, "--force"]] {
        let output = tool(&server.folder, args).await;
        assert_eq!(output.status.code(), Some(1), "a server has it open");
    }
    let folder = server.folder.clone();
    let stopped = server.stop().await;
    let output = tool(&folder, &["restore", file]).await;
    assert_eq!(output.status.code(), Some(1), "it is there");
    let output = tool(&folder, &["restore", file, "--force"]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let kept = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .contains("before-restore")
        })
        .count();
    assert_eq!(kept, 1);
    let restored = serve_in(&folder).await;
    restored.client.get_registered_model("greet").await.unwrap();
    let mut after = seen(&restored, "").await;
    after.retain(|key, _| before.contains_key(key));
    assert_eq!(after, before);
    drop(restored);

    let garbage = folder.join("garbage.db");
    std::fs::write(&garbage, "no database").unwrap();
    let output = tool(&folder, &["restore", garbage.to_str().unwrap(), "--force"]).await;
    assert_eq!(output.status.code(), Some(1));
    drop(stopped);
}

#[tokio::test]
async fn commands_on_nothing_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["gc", "doctor", "export"] {
        let missing = folder.path().join("none.db");
        let uri = registry::sqlite_uri(&missing);
        let mut args = vec![command];
        if command == "export" {
            args.push("somewhere");
        }
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_registry"))
            .args(args)
            .args(["--backend-store-uri", &uri])
            .current_dir(folder.path())
            .output()
            .await
            .unwrap();
        assert_ne!(output.status.code(), Some(0), "{command}");
        assert!(!missing.exists(), "{command} created a database");
    }
}
