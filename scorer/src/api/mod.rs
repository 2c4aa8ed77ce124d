//! What the scorer answers by HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::Telemetry;

/// The loop is dead when it didn't come round for this long, in seconds: half of what Kafka's group waits for it.
const DEAD: f64 = 900.0;

/// Answers at `address` from now on, in the background; the address that was bound.
///
/// # Errors
/// The address can't be listened at.
pub async fn serve(address: &str, telemetry: Arc<Telemetry>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .with_state(telemetry);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "nothing is answered any more");
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

/// Only the loop's own heartbeat: a broker that is away is no reason to restart what waits for it.
async fn live(State(telemetry): State<Arc<Telemetry>>) -> Response {
    let since = telemetry.since_beat();
    if since < DEAD {
        "ok\n".into_response()
    } else {
        let text = format!("the loop did not come round for {since:.0} s\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn ready(State(telemetry): State<Arc<Telemetry>>) -> Response {
    if telemetry.is_ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
