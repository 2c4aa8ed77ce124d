//! `/livez`, `/readyz`, `/metrics`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;

/// The loop is dead when it didn't come round for this long, in seconds: half of what Kafka's group waits for it.
const DEAD: f64 = 900.0;

/// Only the loop's own heartbeat: a broker that is away is no reason to restart what waits for it.
pub(super) async fn live(State(api): State<Arc<Api>>) -> Response {
    let since = api.telemetry.since_beat();
    if since < DEAD {
        "ok\n".into_response()
    } else {
        let text = format!("the loop did not come round for {since:.0} s\n");
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    if api.telemetry.is_ready() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match api.telemetry.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
