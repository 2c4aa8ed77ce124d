//! Limits, TLS, and what is never let out.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use registry::auth::Role;
use registry::{ServeOptions, TlsFiles};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::secured::{PASSWORD, program, serve_with, start};

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").unwrap())
        .await
        .unwrap()
}

/// What a server says on a connection until it closes it.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .unwrap()
        .ok();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let options = ServeOptions {
        max_body_bytes: 1000,
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[]).await;
    let path = "/api/2.0/mlflow/experiments/create";
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(2000));
    let post = || {
        server
            .request("", "POST", path)
            .header("content-type", "application/json")
    };
    let answer = post().body(large.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    // Of a size that is told by nobody.
    let pieces = futures::stream::iter([Ok::<_, std::io::Error>(large)]);
    let answer = post()
        .body(reqwest::Body::wrap_stream(pieces))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    let answer = post().body(r#"{"name": "x"}"#).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // Artifacts are no such bodies.
    let upload = server
        .request("", "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/f")
        .body(vec![0; 5000]);
    assert_eq!(upload.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_slow_head_ends_its_connection() {
    let options = ServeOptions {
        header_timeout: Duration::from_millis(200),
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[]).await;
    let mut stream = connect(&server.url).await;
    stream.write_all(b"GET /health HT").await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn too_many_at_once_are_told_to_come_back() {
    let options = ServeOptions {
        max_in_flight: 1,
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[]).await;
    // An upload that never ends takes the only place.
    let mut upload = connect(&server.url).await;
    let head = "PUT /api/2.0/mlflow-artifacts/artifacts/0/f HTTP/1.1\r\nhost: localhost\r\n\
                content-length: 10\r\n\r\nhalf";
    upload.write_all(head.as_bytes()).await.unwrap();
    let answer = loop {
        let answer = server.request("", "GET", "/version").send().await.unwrap();
        assert_eq!(answer.status(), 200, "a probe is always answered");
        let path = "/api/2.0/mlflow/experiments/search?max_results=1";
        let answer = server.request("", "GET", path).send().await.unwrap();
        // Until the upload has arrived.
        if answer.status() != 200 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    upload.write_all(b"whole.").await.unwrap();
    let mut first = [0; 12];
    upload.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_slow_body_keeps_no_place() {
    let options = ServeOptions {
        request_timeout: Duration::from_secs(2),
        max_in_flight: 1,
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[("ada", Role::Admin)]).await;
    let head = |login: &str| {
        format!(
            "POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nhost: localhost\r\n{login}\
             content-type: application/json\r\ncontent-length: 10\r\n\r\nhalf"
        )
    };
    // Nobody: refused before the body has come, and its place is free at once.
    let mut nobody = connect(&server.url).await;
    nobody.write_all(head("").as_bytes()).await.unwrap();
    // What is small is read before its handler runs, and not for ever.
    use base64::Engine;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("ada:{PASSWORD}"));
    let mut slow = connect(&server.url).await;
    let login = format!("authorization: Basic {login}\r\n");
    slow.write_all(head(&login).as_bytes()).await.unwrap();
    let answer = read_all(&mut slow).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("took longer"),
        "{answer}"
    );
    let path = "/api/2.0/mlflow/experiments/search?max_results=1";
    let answer = server.request("ada", "GET", path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn who_waits_for_a_promotion_keeps_no_place() {
    let options = ServeOptions {
        request_timeout: Duration::from_millis(200),
        max_in_flight: 1,
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[]).await;
    let make = async |path: &str, body: serde_json::Value| {
        assert_eq!(server.status("", "POST", path, body).await, 200, "{path}");
    };
    make("registered-models/create", json!({"name": "m"})).await;
    let version = json!({"name": "m", "source": "s3://elsewhere/m"});
    make("model-versions/create", version.clone()).await;
    make("model-versions/create", version).await;
    let alias = |version: &str| json!({"name": "m", "alias": "a", "version": version});
    make("registered-models/alias", alias("1")).await;
    let path = "/api/2.0/mlflow/registered-models/alias?name=m&alias=a";
    let first = server.request("", "GET", path).send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    // Longer than a request may take otherwise.
    let waiting = server.request("", "GET", &format!("{path}&wait=30"));
    let waiting = tokio::spawn(waiting.header("if-none-match", tag).send());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!waiting.is_finished());
    make("registered-models/alias", alias("2")).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let options = ServeOptions {
        max_connections: 1,
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[]).await;
    let mut first = connect(&server.url).await;
    first
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut status = [0; 12];
    first.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let mut second = connect(&server.url).await;
    let answer = read_all(&mut second).await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("TEMPORARILY_UNAVAILABLE"),
        "{answer}"
    );
}

#[tokio::test]
async fn one_client_gets_so_much_a_second() {
    let options = ServeOptions {
        rate_limit: Some(2),
        trusted_proxies: vec![IpAddr::from([127, 0, 0, 1])],
        ..ServeOptions::default()
    };
    let server = serve_with(options, &[]).await;
    let ask = async |client: &str| {
        let path = "/api/2.0/mlflow/experiments/search?max_results=1";
        let request = server.request("", "GET", path);
        // Who the proxy speaks for is the last one; those before may be made up.
        let forwarded = format!("{}, {client}", uuid::Uuid::new_v4());
        let answer = request.header("x-forwarded-for", forwarded).send().await;
        let answer = answer.unwrap();
        (
            answer.status().as_u16(),
            answer.headers().contains_key("retry-after"),
        )
    };
    let mut limited = 0;
    for _ in 0..20 {
        match ask("198.51.100.1").await {
            (429, true) => limited += 1,
            (status, _) => assert_eq!(status, 200),
        }
    }
    assert!(limited > 0);
    assert_eq!(ask("198.51.100.2").await.0, 200);
}

/// A certificate for localhost; its file, its key's, and itself.
fn certificate(folder: &Path) -> (TlsFiles, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    let pem = made.cert.pem();
    std::fs::write(&files.cert, &pem).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, pem.into_bytes())
}

fn trusting(pem: &[u8]) -> reqwest::Client {
    reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(pem).unwrap())
        .build()
        .unwrap()
}

#[tokio::test]
async fn tls_is_served_and_its_certificate_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (files, old) = certificate(folder.path());
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let server = start(program(&folder), &["--tls-cert", cert, "--tls-key", key]).await;
    let url = format!("{}/version", server.url.replace("127.0.0.1", "localhost"));
    assert!(url.starts_with("https://"), "{url}");
    let answer = trusting(&old).get(&url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "3.17.2");
    // URLs that it makes lead back by TLS.
    let create = url.replace(
        "/version",
        "/api/2.0/mlflow-artifacts/mpu/create/0/x/artifacts",
    );
    let request = trusting(&old).post(create);
    let answer = request
        .json(&json!({"path": "f", "num_parts": 1}))
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    let part = answer["credentials"][0]["url"].as_str().unwrap();
    assert!(part.starts_with("https://localhost:"), "{part}");
    // Somebody who does not speak TLS holds nobody up.
    let mut silent = connect(&server.url.replace("https://", "http://")).await;
    silent.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (_, new) = certificate(folder.path());
    assert!(trusting(&new).get(&url).send().await.is_err());
    server.signal("-HUP").await;
    let mut renewed = false;
    for _ in 0..500 {
        if trusting(&new).get(&url).send().await.is_ok() {
            renewed = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(renewed);
}

#[tokio::test]
async fn wrong_files_of_tls_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = certificate(folder.path());
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let gone = folder.path().join("gone.pem");
    for (cert, key, named) in [
        (gone.to_str().unwrap(), key, "gone.pem"),
        (cert, gone.to_str().unwrap(), "gone.pem"),
        (key, key, "key.pem"),
        (cert, cert, "cert.pem"),
    ] {
        let output = program(&folder)
            .args(["serve", "--port", "0", "--tls-cert", cert, "--tls-key", key])
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(named), "{stderr}");
    }
}

#[tokio::test]
async fn the_network_is_not_let_in_without_users() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--port", "0", "--host", "0.0.0.0"];
    let output = program(&folder).args(arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("registry user add") && stderr.contains("--allow-anonymous"),
        "{stderr}"
    );
    let host = ["--host", "0.0.0.0"];
    start(
        program(&folder),
        &[&host[..], &["--allow-anonymous"]].concat(),
    )
    .await;
    let added = program(&folder)
        .args(["user", "add", "ada", "--role", "admin"])
        .env("REGISTRY_PASSWORD", "a long password")
        .output()
        .await
        .unwrap();
    assert_eq!(added.status.code(), Some(0));
    let server = start(program(&folder), &host).await;
    let answer = reqwest::get(format!("{}/", server.url)).await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log() {
    let users = [("walt", Role::Writer), ("rita", Role::Reader)];
    let server = serve_with(ServeOptions::default(), &users).await;
    let experiment = server.experiment("walt", "audited").await;
    let run = server.run("walt", &experiment).await;
    let metric = json!({"run_id": run, "key": "k", "value": 1, "timestamp": 1, "step": 0});
    assert_eq!(
        server
            .status("walt", "POST", "runs/log-metric", metric)
            .await,
        200
    );
    let tag = json!({"run_id": run, "key": "secret-key", "value": "secret-value"});
    assert_eq!(
        server.status("walt", "POST", "runs/set-tag", tag).await,
        200
    );
    assert_eq!(
        server
            .status("rita", "POST", "experiments/create", json!({"name": "x"}))
            .await,
        403
    );
    server
        .status("rita", "GET", "experiments/search", json!({}))
        .await;
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/f");
    let put = server
        .request("walt", "PUT", &path)
        .header("x-request-id", "mine-1")
        .body("x");
    put.send().await.unwrap();
    // A server that stops has written it all.
    server.stop.cancel();
    let search = registry::store::AuditSearch {
        limit: 100,
        ..Default::default()
    };
    let mut found = Vec::new();
    for _ in 0..500 {
        // The server closes its connections when it is done; then another one looks.
        let (uri, _postgres) = crate::harness::database_of(server.folder.path());
        let store = registry::store::Store::open(&uri).await.unwrap();
        found = store.audit(&search).await.unwrap();
        store.close().await;
        if found.len() == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told: Vec<_> = found
        .iter()
        .map(|record| {
            (
                record.user_name.as_deref().unwrap(),
                record.action.rsplit('/').next().unwrap(),
                record.outcome.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("walt", "create", "200"),
            ("walt", "create", "200"),
            ("walt", "set-tag", "200"),
            ("rita", "create", "403"),
            ("walt", "{*path}", "200"),
        ]
    );
    assert!(found[0].resource.contains("name=audited"), "{found:?}");
    assert!(
        found[1].resource.contains(&format!("run_id={run}")),
        "{found:?}"
    );
    assert!(!format!("{found:?}").contains("secret-value"));
    assert_eq!(found[4].request_id.as_deref(), Some("mine-1"));
    assert!(found[4].resource.ends_with("/f"), "{found:?}");
    assert_eq!(found[0].client.as_deref(), Some("127.0.0.1"));
    let ids: Vec<_> = found.iter().map(|record| record.id).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn preflights_grant_local_pages_only() {
    let server = serve_with(ServeOptions::default(), &[("ada", Role::Admin)]).await;
    let ask = async |origin: &str| {
        server
            .request("", "OPTIONS", "/api/2.0/mlflow/runs/create")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap()
    };
    let granted = ask("http://localhost:3000").await;
    assert_eq!(granted.status(), 204);
    assert_eq!(
        granted.headers()["access-control-allow-origin"],
        "http://localhost:3000"
    );
    let refused = ask("https://evil.example").await;
    assert!(
        !refused
            .headers()
            .contains_key("access-control-allow-origin")
    );
}
