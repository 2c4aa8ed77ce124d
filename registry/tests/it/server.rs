use std::process::Stdio;
use std::time::Duration;

use registry::{Options, Registry, sqlite_uri};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::serve;

#[tokio::test]
async fn it_says_what_it_is() {
    let server = serve().await;
    assert_eq!(server.get("/health").await, (200, "OK".to_owned()));
    assert_eq!(server.get("/version").await, (200, "3.17.2".to_owned()));
    let (status, info) = server.get("/api/3.0/mlflow/server-info").await;
    assert!(status == 200 && info.contains("SqlStore"), "{info}");
    let (status, body) = server.get("/api/2.0/mlflow/nothing").await;
    assert!(
        status == 404 && body.contains("ENDPOINT_NOT_FOUND"),
        "{body}"
    );
    assert_eq!(server.get("/api/2.0/mlflow/runs/create").await.0, 405);
    let experiment = server
        .client
        .get_or_create_experiment("<script>")
        .await
        .unwrap();
    server
        .client
        .create_run(&experiment, Some("<b>\"x\""), 1, vec![])
        .await
        .unwrap();
    let (status, page) = server.get("/").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("&lt;b&gt;&quot;x&quot;") && !page.contains("<b>"),
        "{page}"
    );
    assert!(page.contains("<td>&lt;script&gt;"));
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused() {
    let server = serve().await;
    let http = reqwest::Client::new();
    let url = format!(
        "{}/api/2.0/mlflow/experiments/search?max_results=1",
        server.url
    );
    let rebound = http
        .get(&url)
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 403);
    let url = format!("{}/api/2.0/mlflow/experiments/create", server.url);
    let forged = http
        .post(&url)
        .header("origin", "https://evil.example")
        .json(&serde_json::json!({"name": "x"}))
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 403);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("registry.db");
    let options = || Options {
        backend_store_uri: sqlite_uri(&path),
        artifacts_destination: temp.path().join("artifacts").into(),
        ..Options::default()
    };
    Registry::open(options())
        .await
        .unwrap()
        .store()
        .close()
        .await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    let error = Registry::open(options()).await.unwrap_err().to_string();
    assert!(
        error.contains("schema 9999") && error.contains("newer program"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("registry.db");
    std::fs::write(&path, "not a database at all, but long enough to look at").unwrap();
    let options = Options {
        backend_store_uri: sqlite_uri(&path),
        artifacts_destination: temp.path().join("artifacts").into(),
        ..Options::default()
    };
    let error = Registry::open(options).await.unwrap_err().to_string();
    assert!(error.contains("registry.db"), "{error}");
    let options = Options {
        backend_store_uri: "mysql://u:p@h/d".into(),
        ..Options::default()
    };
    let error = Registry::open(options).await.unwrap_err().to_string();
    assert!(
        error.contains("sqlite:///") && !error.contains("u:p"),
        "{error}"
    );
}

#[tokio::test]
async fn the_program_serves_and_stops_when_told() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_registry"))
        .args(["serve", "--port", "0"])
        .current_dir(temp.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .await
        .unwrap();
    let url = line.trim().strip_prefix("registry at ").unwrap().to_owned();
    assert_eq!(
        reqwest::get(format!("{url}/health"))
            .await
            .unwrap()
            .status(),
        200
    );
    // The defaults are where `trainer run` writes.
    assert!(temp.path().join("foreshock/registry.db").is_file());
    // The port is taken now: a usage error that says so.
    let port = url.rsplit(':').next().unwrap();
    let second = Command::new(env!("CARGO_BIN_EXE_registry"))
        .args(["serve", "--output", "json", "--port", port])
        .current_dir(temp.path())
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("--port"));
    let stdout: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert!(stdout["error"].is_string());
    let id = child.id().unwrap().to_string();
    Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .await
        .unwrap();
    let status = tokio::time::timeout(Duration::from_secs(15), child.wait())
        .await
        .unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test]
async fn an_unwritable_folder_is_named() {
    let temp = tempfile::tempdir().unwrap();
    // A file where the folder should be: root may write anywhere else.
    std::fs::write(temp.path().join("foreshock"), "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_registry"))
        .args(["serve", "--port", "0"])
        .current_dir(temp.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("foreshock"), "{stderr}");
}
