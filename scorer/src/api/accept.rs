//! Connections: accepted, bounded, served with HTTP/1.1, and ended when the scorer stops.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

/// How long the head of a request may take, and an idle connection is kept.
const HEAD: Duration = Duration::from_secs(30);
/// How long requests that are under way may take once the scorer stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How long somebody who can't be served is told so.
const REFUSAL: Duration = Duration::from_secs(1);

/// What a caller is told when there are too many connections.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
content-length: 86\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
{\"error_code\":\"TEMPORARILY_UNAVAILABLE\",\"message\":\"The scorer has no connection left\"}";

/// The address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves at most so many connections until `stop` is cancelled, then waits a while for what is under way.
pub(super) async fn accept(
    listener: TcpListener,
    app: Router,
    max_connections: usize,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(true);
    let http = Arc::new(http);
    let slots = Arc::new(Semaphore::new(max_connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    // A caller must not wait for a delayed ACK; a socket that can't is slower, not wrong.
                    stream.set_nodelay(true).ok();
                    let served = serve(
                        Arc::clone(&http),
                        app.clone(),
                        stream,
                        Peer(peer),
                        stop.clone(),
                        slot,
                    );
                    connections.spawn(served);
                }
                Err(_) => drop(tokio::spawn(refuse(stream))),
            },
            Err(error) => {
                use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
                if !matches!(
                    error.kind(),
                    ConnectionAborted | ConnectionRefused | ConnectionReset
                ) {
                    // Out of file descriptors: connections have to end first.
                    tracing::error!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "connections are cut: their requests took too long to finish"
        );
    }
}

/// Too many connections: says so where it can be said, and closes.
async fn refuse(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await
    };
    // The caller may be gone; nobody else has to know.
    tokio::time::timeout(REFUSAL, answer).await.ok();
}

async fn serve(
    http: Arc<http1::Builder>,
    app: Router,
    stream: TcpStream,
    peer: Peer,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        app.clone().call(request)
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, peer = %peer.0, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_valid() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
