//! What the client does when a server fails: a scripted one answers each connection in turn.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mlflow_api::{Client, ClientError, ClientOptions, Credentials, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives these answers, one a connection, and then none; counts connections.
async fn scripted(answers: &'static [(u16, &'static str)]) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = vec![0; 64 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            let head = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
            assert!(head.contains("authorization: bearer t0ken"), "{head}");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let options = ClientOptions {
        max_retries: 3,
        backoff: Duration::from_millis(1),
        ..ClientOptions::default()
    };
    let credentials = Credentials::Bearer("t0ken".to_owned());
    (Client::new(&url, credentials, options).unwrap(), asked)
}

const RUN: &str = r#"{"run":{"info":{"run_id":"a"}}}"#;
const BROKEN: &str = r#"{"error_code":"INTERNAL_ERROR","message":"broken"}"#;

#[tokio::test]
async fn a_read_is_repeated_until_it_is_answered() {
    let (client, asked) = scripted(&[(500, BROKEN), (429, ""), (503, "<html>"), (200, RUN)]).await;
    assert_eq!(client.get_run("a").await.unwrap().info.run_id, "a");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn retries_are_bounded() {
    let (client, asked) = scripted(&[(503, ""), (503, ""), (503, ""), (503, ""), (200, RUN)]).await;
    let error = client.get_run("a").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 503, .. }),
        "{error:?}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_creation_is_not_repeated_when_the_server_may_have_seen_it() {
    let (client, asked) = scripted(&[(500, BROKEN), (200, RUN)]).await;
    let error = client
        .create_run("0", None, 1, Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InternalError));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_is_told_at_once_with_its_code() {
    const GONE: &str = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no run"}"#;
    let (client, asked) = scripted(&[(404, GONE), (200, RUN)]).await;
    let error = client.get_run("a").await.unwrap_err();
    assert!(error.is_not_found() && !error.is_unreachable());
    assert!(error.to_string().contains("no run"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_not_the_dialect_is_unreadable() {
    let (client, _) = scripted(&[(200, "<html>")]).await;
    let error = client.get_run("a").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreadable { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_no_secret_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = ClientOptions {
        max_retries: 0,
        ..ClientOptions::default()
    };
    let url = format!("http://ann:s3cret@{address}");
    let client = Client::new(&url, Credentials::None, options).unwrap();
    let error = client.get_run("a").await.unwrap_err();
    assert!(error.is_unreachable());
    assert!(!format!("{error:?}{error}").contains("s3cret"));
}
