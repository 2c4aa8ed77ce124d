//! Whether the server is well, and its metrics.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Gateway;
use crate::Registry;
use crate::telemetry::Now;

/// How long an answer stays true.
const FRESH: Duration = Duration::from_secs(1);
/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found a short while ago.
#[derive(Debug, Default)]
pub(super) struct Readiness(std::sync::Mutex<Option<(Instant, bool, Value)>>);

/// The process runs.
pub(crate) async fn livez() -> &'static str {
    "ok"
}

/// Whether requests can be answered: the database, its migrations, the artifact store.
pub(crate) async fn readyz(
    State(registry): State<Registry>,
    Extension(gateway): Extension<Arc<Gateway>>,
) -> Response {
    if gateway.is_stopping() {
        let body = Json(json!({"status": "stopping"}));
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    let known = || {
        gateway
            .readiness
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    let fresh = known()
        .as_ref()
        .filter(|(since, ..)| since.elapsed() < FRESH)
        .map(|(_, ready, body)| (*ready, body.clone()));
    let (ready, body) = match fresh {
        Some(found) => found,
        None => {
            let (ready, mut body) = check(&registry).await;
            // Told, not judged: requests are answered without Kafka as well.
            if let Some(market) = &gateway.market {
                body["market"] = market.details();
            }
            *known() = Some((Instant::now(), ready, body.clone()));
            (ready, body)
        }
    };
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

async fn check(registry: &Registry) -> (bool, Value) {
    let (database, migrations, artifacts) = tokio::join!(
        within(registry.store().ping()),
        within(registry.store().check_schema()),
        within(registry.artifacts().check_writable()),
    );
    let checks = [
        ("database", database),
        ("migrations", migrations),
        ("artifacts", artifacts),
    ];
    let ready = checks.iter().all(|(_, result)| result.is_ok());
    let mut all = serde_json::Map::new();
    for (name, result) in checks {
        if let Err(error) = &result {
            // Why is for the log: it may name paths and hosts.
            tracing::warn!(check = name, error, "not ready");
        }
        let said = if result.is_ok() { "ok" } else { "failed" };
        all.insert(name.to_owned(), said.into());
    }
    let status = if ready { "ready" } else { "not ready" };
    (ready, json!({"status": status, "checks": all}))
}

async fn within<T, E: std::error::Error>(
    check: impl Future<Output = Result<T, E>>,
) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, check).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            let mut text = error.to_string();
            if let Some(cause) = error.source() {
                text.push_str(": ");
                text.push_str(&cause.to_string());
            }
            Err(text)
        }
        Err(_) => Err("it takes too long".to_owned()),
    }
}

/// Everything that is counted and measured, for Prometheus.
pub(crate) async fn metrics(
    State(registry): State<Registry>,
    Extension(gateway): Extension<Arc<Gateway>>,
) -> Response {
    let (pool_used, pool_idle) = registry.store().connections();
    let now = Now {
        in_flight: gateway.requests_in_flight(),
        connections: gateway.connections().used(),
        pool_used,
        pool_idle,
    };
    match gateway.telemetry().render(now) {
        Ok(text) => (
            [(
                CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
