//! `/metrics`, `/livez`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::Telemetry;

/// Answers at `address` from now on, in the background; returns the address that was bound.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve(address: &str, telemetry: Arc<Telemetry>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        // The process answers: that is all that liveness asks. A broker or an exchange that is
        // away is no reason to restart a feed that waits for it.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(telemetry);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "metrics are no longer answered");
        }
    });
    Ok(bound)
}

async fn metrics(State(telemetry): State<Arc<Telemetry>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match telemetry.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(telemetry): State<Arc<Telemetry>>) -> Response {
    if telemetry.is_ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
