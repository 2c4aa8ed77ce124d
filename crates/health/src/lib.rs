//! `/metrics`, `/livez` and `/readyz`, as every program that runs for months answers them.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test may fail by panicking")
)]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// What a program knows of its own health.
pub trait Health: Send + Sync + 'static {
    /// Its metrics, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// When they can't be written.
    fn metrics(&self) -> Result<String, fmt::Error>;

    /// Whether work is under way as it should be.
    fn is_ready(&self) -> bool;

    /// Whether it should be left running. That it answers is all that is asked here, unless it knows better: a broker
    /// that is away is no reason to restart what waits for it.
    ///
    /// # Errors
    /// Why it should be started again.
    fn check_alive(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The three routes. A program whose routes have more in common takes [`metrics`], [`live`] and [`ready`].
pub fn routes<H: Health>(health: Arc<H>) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(|State(health): State<Arc<H>>| async move { metrics(&*health) }),
        )
        .route(
            "/livez",
            get(|State(health): State<Arc<H>>| async move { live(&*health) }),
        )
        .route(
            "/readyz",
            get(|State(health): State<Arc<H>>| async move { ready(&*health) }),
        )
        .with_state(health)
}

/// Answers `routes` at `address` from now on, in the background; returns the address that was bound.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve(address: &str, routes: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "nothing is answered any more");
        }
    });
    Ok(bound)
}

/// What `/metrics` answers.
pub fn metrics(health: &impl Health) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What `/livez` answers.
pub fn live(health: &impl Health) -> Response {
    match health.check_alive() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// What `/readyz` answers.
pub fn ready(health: &impl Health) -> Response {
    if health.is_ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Fixed {
        is_ready: bool,
        trouble: Option<&'static str>,
    }

    impl Health for Fixed {
        fn metrics(&self) -> Result<String, fmt::Error> {
            match self.trouble {
                None => Ok("trades_total 1\n# EOF\n".to_owned()),
                Some(_) => Err(fmt::Error),
            }
        }

        fn is_ready(&self) -> bool {
            self.is_ready
        }

        fn check_alive(&self) -> Result<(), String> {
            self.trouble.map_or(Ok(()), |reason| Err(reason.to_owned()))
        }
    }

    async fn ask(health: Fixed, path: &str) -> String {
        let bound = serve("127.0.0.1:0", routes(Arc::new(health))).await;
        let mut stream = TcpStream::connect(bound.unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_is_told_by_status_and_text() {
        let well = |is_ready| Fixed {
            is_ready,
            trouble: None,
        };
        let ill = || Fixed {
            is_ready: true,
            trouble: Some("the loop stands still"),
        };
        for (health, path, status, text) in [
            (well(true), "/livez", "200", "ok"),
            (well(false), "/livez", "200", "ok"),
            (well(true), "/readyz", "200", "ok"),
            (well(false), "/readyz", "503", "not ready"),
            (well(true), "/metrics", "200", "trades_total 1"),
            (ill(), "/livez", "503", "the loop stands still"),
            (ill(), "/metrics", "500", ""),
            (well(true), "/", "404", ""),
        ] {
            let answer = ask(health, path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text),
                "{path}: {answer}"
            );
        }
        assert!(serve("256.0.0.1:0", Router::new()).await.is_err());
    }
}
