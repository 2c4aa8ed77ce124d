//! What operators see: metrics, health, logs, traces, a stop that cuts nothing.

use std::time::Duration;

use registry::ServeOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::secured::{program, serve_with, start};

#[tokio::test]
async fn metrics_are_counted_by_route() {
    let server = serve_with(ServeOptions::default(), &[]).await;
    for id in ["x", "y"] {
        let path = format!("logged-models/{id}");
        assert_eq!(server.status("", "GET", &path, json!({})).await, 404);
    }
    let path = "/api/2.0/mlflow-artifacts/artifacts/0/f";
    server
        .request("", "PUT", path)
        .body(vec![0; 5000])
        .send()
        .await
        .unwrap();
    let file = server.request("", "GET", path).send().await.unwrap();
    assert_eq!(file.bytes().await.unwrap().len(), 5000);
    let answer = server.request("", "GET", "/metrics").send().await.unwrap();
    let text = answer.text().await.unwrap();
    let route = "/api/2.0/mlflow/logged-models/{model_id}";
    for line in [
        &format!(r#"registry_http_requests_total{{method="GET",route="{route}",status="404"}} 2"#),
        &format!(
            r#"registry_http_request_duration_seconds_count{{method="GET",route="{route}"}} 2"#
        ),
        r#"registry_artifact_bytes_total{direction="in"} 5000"#,
        r#"registry_artifact_bytes_total{direction="out"} 5000"#,
        "registry_http_requests_in_flight 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("registry_database_connections_used "));
    assert!(text.contains("process_cpu_seconds"), "{text}");
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
}

#[tokio::test]
async fn readiness_looks_at_what_is_needed() {
    let server = serve_with(ServeOptions::default(), &[]).await;
    let ask = async || {
        let answer = server.request("", "GET", "/readyz").send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (status, body) = ask().await;
    assert_eq!(status, 200, "{body}");
    let checks = json!({"database": "ok", "migrations": "ok", "artifacts": "ok"});
    assert_eq!(body["checks"], checks);
    let alive = server.request("", "GET", "/livez").send().await.unwrap();
    assert_eq!(alive.text().await.unwrap(), "ok");
    let artifacts = server.folder.path().join("artifacts");
    std::fs::rename(&artifacts, server.folder.path().join("moved")).unwrap();
    let mut last = ask().await;
    for _ in 0..500 {
        if last.0 != 200 {
            break;
        }
        // The last answer stays true for a second.
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = ask().await;
    }
    assert_eq!(last.0, 503);
    assert_eq!(last.1["checks"]["artifacts"], "failed");
    assert_eq!(last.1["checks"]["database"], "ok");
    assert!(
        !last
            .1
            .to_string()
            .contains(server.folder.path().to_str().unwrap())
    );
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = serve_with(ServeOptions::default(), &[]).await;
    let ask = async |given: Option<&str>| {
        let mut request = server.request("", "GET", "/no/such/page");
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let answer = request.send().await.unwrap();
        answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(ask(Some("trace-1.a")).await, "trace-1.a");
    let (a, b) = (ask(None).await, ask(Some("not sane")).await);
    assert!(a != b && b != "not sane", "{a} {b}");
}

#[tokio::test]
async fn lines_of_the_log_have_the_request_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&folder);
    command.env("RUST_LOG", "registry=debug");
    let mut server = start(command, &["--log-format", "json"]).await;
    let url = format!("{}/api/2.0/mlflow/runs/get?run_id=x", server.url);
    let request = reqwest::Client::new()
        .get(url)
        .header("x-request-id", "find-me");
    request.send().await.unwrap();
    let line = loop {
        let line = server.log.next_line().await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["request_id"] == "find-me" {
            break line;
        }
    };
    assert_eq!(line["message"], "request");
    assert_eq!(line["route"], "/api/2.0/mlflow/runs/get");
    assert_eq!(line["status"], 404);
    assert!(line["timestamp"].is_string() && line["level"] == "DEBUG");
}

#[tokio::test]
async fn a_stop_cuts_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(program(&folder), &[]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut upload = TcpStream::connect(&address).await.unwrap();
    let head = "PUT /api/2.0/mlflow-artifacts/artifacts/0/f HTTP/1.1\r\nhost: localhost\r\n\
                content-length: 10\r\nexpect: 100-continue\r\n\r\n";
    upload.write_all(head.as_bytes()).await.unwrap();
    // The handler has begun to read.
    let mut begun = [0; 25];
    upload.read_exact(&mut begun).await.unwrap();
    assert!(begun.starts_with(b"HTTP/1.1 100"), "{begun:?}");
    server.signal("-TERM").await;
    // No new connection is taken.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    upload.write_all(b"0123456789").await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    let ended = tokio::time::timeout(Duration::from_secs(30), server.child.wait());
    assert_eq!(ended.await.unwrap().unwrap().code(), Some(0));
    let written = folder.path().join("foreshock/artifacts/0/f");
    assert_eq!(std::fs::read(written).unwrap(), b"0123456789");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(program(&folder), &["--shutdown-timeout", "200ms"]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut upload = TcpStream::connect(&address).await.unwrap();
    let head = "PUT /api/2.0/mlflow-artifacts/artifacts/0/f HTTP/1.1\r\nhost: localhost\r\n\
                content-length: 10\r\nexpect: 100-continue\r\n\r\n";
    upload.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; 25];
    upload.read_exact(&mut begun).await.unwrap();
    server.signal("-TERM").await;
    let ended = tokio::time::timeout(Duration::from_secs(30), server.child.wait());
    assert_eq!(ended.await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn traces_are_exported_where_the_variables_say() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&folder);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_SERVICE_NAME", "named-by-variable")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = start(command, &[]).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let url = format!("{}/version", server.url);
    let request = reqwest::Client::new()
        .get(url)
        .header("traceparent", parent);
    request.send().await.unwrap();
    let exported = async {
        let (mut stream, _) = collector.accept().await.unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        let service = b"named-by-variable";
        while !received
            .windows(service.len())
            .any(|bytes| bytes == service)
        {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0);
            received.extend_from_slice(&buffer[..count]);
        }
        received
    };
    let received = tokio::time::timeout(Duration::from_secs(30), exported)
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&received);
    assert!(text.starts_with("POST /v1/traces"), "{text}");
    let trace = [0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd];
    assert!(received.windows(8).any(|bytes| bytes == trace), "{text}");
    assert!(text.contains("GET /version"), "{text}");
}
