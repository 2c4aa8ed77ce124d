//! Hearing of a move: ETag, long poll, events, and the client that follows an alias.

use std::time::Duration;

use futures::StreamExt;
use mlflow_api::types::AliasChange;
use reqwest::header::{ETAG, HeaderMap, IF_NONE_MATCH};

use super::alias_history::model;
use crate::harness::{Server, serve, serve_in};

/// Far beyond what anything here takes; what hangs fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn alias_url(server: &Server) -> String {
    format!(
        "{}/api/2.0/mlflow/registered-models/alias?name=m&alias=a",
        server.url
    )
}

async fn get(url: &str, tag: &str, prefer: &str) -> (u16, HeaderMap, String) {
    let response = reqwest::Client::new()
        .get(url)
        .header(IF_NONE_MATCH, tag)
        .header("Prefer", prefer)
        .send()
        .await
        .unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    let server = serve().await;
    model(&server, "m", 2).await;
    server.client.set_alias("m", "a", "1").await.unwrap();
    let url = alias_url(&server);
    let (status, headers, body) = get(&url, "\"other\"", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("\"version\":\"1\""), "{body}");
    let tag = headers[ETAG].to_str().unwrap().to_owned();
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let (status, headers, body) = get(&url, &known, "").await;
        assert_eq!((status, body.as_str()), (304, ""), "{known}");
        assert_eq!(headers[ETAG], tag.as_str());
    }
    // A change of the version itself is another content.
    let (_, _) = server
        .post(
            "model-versions/set-tag",
            serde_json::json!({"name": "m", "version": "1", "key": "k", "value": "v"}),
        )
        .await;
    assert_eq!(get(&url, &tag, "").await.0, 200);
    assert_eq!(get(&format!("{url}&wait=soon"), &tag, "").await.0, 400);
    assert_eq!(get(&url, &tag, "wait=soon").await.0, 200);
}

#[tokio::test]
async fn a_long_poll_ends_when_the_alias_moves() {
    let server = serve().await;
    let other = serve_in(&server.folder).await;
    model(&server, "m", 5).await;
    server.client.set_alias("m", "a", "1").await.unwrap();
    let url = alias_url(&server);
    // By this process, and by another over the same database.
    for (mover, version, elsewhere) in [(&server, "2", "4"), (&other, "3", "5")] {
        let (_, headers, _) = get(&url, "\"\"", "").await;
        let tag = headers[ETAG].to_str().unwrap().to_owned();
        let waiting = {
            let url = url.clone();
            tokio::spawn(async move { get(&url, &tag, "respond-async, wait=30").await })
        };
        // Another alias of the model wakes nobody for good.
        mover.client.set_alias("m", "b", elsewhere).await.unwrap();
        mover.client.set_alias("m", "a", version).await.unwrap();
        let (status, _, body) = tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status, 200);
        assert!(
            body.contains(&format!("\"version\":\"{version}\"")),
            "{body}"
        );
    }
    let (_, headers, _) = get(&url, "\"\"", "").await;
    let tag = headers[ETAG].to_str().unwrap();
    let (status, ..) = get(&format!("{url}&wait=1"), tag, "").await;
    assert_eq!(status, 304);
}

/// Reads events of a stream.
struct Events {
    body: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    async fn open(server: &Server, query: &str, last: Option<i64>) -> Self {
        let mut request =
            reqwest::Client::new().get(format!("{}/api/2.0/foreshock/events?{query}", server.url));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.bytes_stream().boxed(),
            text: String::new(),
        }
    }

    /// The next event; `None` when the stream ended.
    async fn next(&mut self) -> Option<AliasChange> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                        .map(str::to_owned)
                };
                let Some(kind) = field("event") else { continue };
                assert_eq!(kind, "alias", "{event}");
                let change: AliasChange = serde_json::from_str(&field("data").unwrap()).unwrap();
                assert_eq!(field("id").unwrap(), change.sequence.to_string());
                return Some(change);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next())
                .await
                .unwrap()?;
            self.text
                .push_str(std::str::from_utf8(&chunk.ok()?).unwrap());
        }
    }
}

#[tokio::test]
async fn events_come_in_order_from_every_process() {
    let server = serve().await;
    let other = serve_in(&server.folder).await;
    model(&server, "m", 2).await;
    model(&server, "n", 2).await;
    server.client.set_alias("m", "a", "1").await.unwrap();
    server.client.set_alias("n", "a", "1").await.unwrap();
    let mut all = Events::open(&server, "", Some(0)).await;
    let mut one = Events::open(&server, "model=m&alias=a", None).await;
    let mut writers = Vec::new();
    for client in [server.client.clone(), other.client.clone()] {
        writers.push(tokio::spawn(async move {
            for i in 0..20 {
                let version = if i % 2 == 0 { "2" } else { "1" };
                for (name, alias) in [("m", "a"), ("m", "b"), ("n", "a")] {
                    client.set_alias(name, alias, version).await.unwrap();
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let (_, body) = server
        .get("/api/2.0/foreshock/registered-models/alias-history?name=m&max_results=1")
        .await;
    let newest: mlflow_api::types::AliasHistoryResponse = serde_json::from_str(&body).unwrap();
    server.client.set_alias("m", "end", "1").await.unwrap();
    assert!(newest.changes[0].sequence > 20);
    let mut expected = 1;
    let mut of_one = Vec::new();
    loop {
        let change = all.next().await.unwrap();
        assert_eq!(change.sequence, expected);
        expected += 1;
        if (change.name.as_str(), change.alias.as_str()) == ("m", "a") && change.sequence > 2 {
            of_one.push(change.sequence);
        }
        if change.alias == "end" {
            break;
        }
    }
    for sequence in of_one {
        assert_eq!(one.next().await.unwrap().sequence, sequence);
    }
    // Coming back: only what was missed.
    let mut again = Events::open(&server, "model=m", Some(expected - 2)).await;
    assert_eq!(again.next().await.unwrap().alias, "end");
    let (status, _) = server
        .get("/api/2.0/foreshock/events?last_event_id=x")
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams() {
    let server = serve().await;
    let other = serve_in(&server.folder).await;
    model(&server, "m", 1).await;
    let mut events = Events::open(&other, "", None).await;
    drop(other);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_client_follows_an_alias() {
    let server = serve().await;
    let other = serve_in(&server.folder).await;
    model(&server, "m", 3).await;
    let mut watch = server.client.watch_alias("m", "a");
    let next = async |watch: &mut mlflow_api::AliasWatch| {
        tokio::time::timeout(PATIENCE, watch.next())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(next(&mut watch).await, None);
    for (mover, version) in [(&server, "1"), (&other, "2"), (&server, "3")] {
        mover.client.set_alias("m", "a", version).await.unwrap();
        assert_eq!(next(&mut watch).await.as_deref(), Some(version));
    }
    let url = format!("{}/api/2.0/mlflow/registered-models/alias", server.url);
    reqwest::Client::new()
        .delete(url)
        .json(&serde_json::json!({"name": "m", "alias": "a"}))
        .send()
        .await
        .unwrap();
    assert_eq!(next(&mut watch).await, None);
}

/// A server of the dialect that has no events: it answers for one alias only.
#[tokio::test]
async fn a_server_that_tells_nothing_is_asked() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut asked = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..n]).into_owned();
            let (status, body) = if request.contains("/foreshock/") {
                ("404 Not Found", String::new())
            } else {
                asked += 1;
                let version = if asked < 3 { 1 } else { 2 };
                let body =
                    format!("{{\"model_version\":{{\"name\":\"m\",\"version\":\"{version}\"}}}}");
                ("200 OK", body)
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let client = mlflow_api::Client::new(
        &url,
        mlflow_api::Credentials::None,
        mlflow_api::ClientOptions::default(),
    )
    .unwrap();
    let mut watch = client
        .watch_alias("m", "a")
        .poll_every(Duration::from_millis(10));
    for expected in ["1", "2"] {
        let version = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
        assert_eq!(version.unwrap().as_deref(), Some(expected));
    }
}
