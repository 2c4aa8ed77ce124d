//! Connections: accepted, perhaps decrypted, served with HTTP/1.1, and ended when the server stops.

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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::gateway::Gateway;
use super::limits::Slot;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long connections that are cut may take to notice.
const CUT: Duration = Duration::from_secs(1);

/// What a client is told when there are too many connections, over plain HTTP.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
content-length: 86\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
{\"error_code\":\"TEMPORARILY_UNAVAILABLE\",\"message\":\"The server has no connection left\"}";

/// The address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What all connections share.
struct Shared {
    http: http1::Builder,
    app: Router,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
    /// Ends requests that take too long to finish.
    cut: CancellationToken,
}

/// Accepts connections until `stop` is cancelled, then waits for what is under way (for
/// as long as the options allow).
pub(crate) async fn accept(
    listener: TcpListener,
    app: Router,
    gateway: Arc<Gateway>,
    stop: CancellationToken,
) {
    let options = gateway.options();
    let drain = options.shutdown_timeout;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .half_close(true)
        .keep_alive(true);
    let shared = Arc::new(Shared {
        http,
        app,
        gateway,
        stop: stop.clone(),
        cut: CancellationToken::new(),
    });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(Arc::clone(&shared), stream, Peer(peer)));
            }
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
    if tokio::time::timeout(drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "connections are cut: their requests took too long to finish"
        );
        shared.cut.cancel();
        // What they held is given back at once; nobody waits for a TLS handshake.
        tokio::time::timeout(CUT, connections.wait()).await.ok();
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: Peer) {
    // A client must not wait for a delayed ACK; a socket that can't is slower, not wrong.
    stream.set_nodelay(true).ok();
    let Some(slot) = shared.gateway.connections().take() else {
        refuse(&shared, stream).await;
        return;
    };
    let Some(tls) = shared.gateway.tls() else {
        return serve(&shared, stream, peer, slot).await;
    };
    match tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => serve(&shared, stream, peer, slot).await,
        Ok(Err(error)) => tracing::debug!(%error, peer = %peer.0, "TLS handshake failed"),
        Err(_) => tracing::debug!(peer = %peer.0, "TLS handshake took too long"),
    }
}

/// Too many connections: says so where it can be said, and closes.
async fn refuse(shared: &Shared, mut stream: TcpStream) {
    shared.gateway.telemetry().refused_connection();
    if shared.gateway.tls().is_none() {
        let answer = async {
            stream.write_all(FULL).await?;
            stream.shutdown().await
        };
        // The client may be gone; nobody else has to know.
        tokio::time::timeout(Duration::from_secs(1), answer)
            .await
            .ok();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    stream: S,
    peer: Peer,
    _slot: Slot,
) {
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        shared.app.clone().call(request)
    });
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(stream), service));
    let mut told = &shared.stop;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, peer = %peer.0, "connection ended");
                }
                return;
            }
            () = told.cancelled() => {
                if shared.cut.is_cancelled() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                told = &shared.cut;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_valid() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{}",
            body.len()
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
