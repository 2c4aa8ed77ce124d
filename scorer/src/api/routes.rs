//! The table of all routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse as _;
use axum::routing::{MethodRouter, get, post};

use super::error::Refusal;
use super::{Api, events, gate, health, invocations, model, openapi, predict, predictions, stats};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody, at any rate: whatever else is going on, a probe must be answered.
    Open,
    /// Everybody, unless metrics are protected.
    Metrics,
    /// Who has the token.
    Token,
}

/// A route.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// Whether its answer goes on until somebody has enough.
    pub(super) is_stream: bool,
    handler: fn() -> MethodRouter<Arc<Api>>,
}

const fn route(
    method: &'static str,
    path: &'static str,
    access: Access,
    handler: fn() -> MethodRouter<Arc<Api>>,
) -> Route {
    Route {
        method,
        path,
        access,
        is_stream: false,
        handler,
    }
}

/// All of them.
pub(super) const ROUTES: &[Route] = &[
    route("post", "/v1/predict", Access::Token, || {
        post(predict::handle)
    }),
    route("get", "/v1/predictions", Access::Token, || {
        get(predictions::handle)
    }),
    route("get", "/v1/stats", Access::Token, || get(stats::handle)),
    route("get", "/v1/model", Access::Token, || get(model::handle)),
    route("get", "/v1/health", Access::Token, || get(health::handle)),
    Route {
        is_stream: true,
        ..route("get", "/v1/events", Access::Token, || get(events::handle))
    },
    route("post", "/invocations", Access::Token, || {
        post(invocations::handle)
    }),
    route("get", "/openapi.json", Access::Token, || {
        get(openapi::handle)
    }),
    route("get", "/ping", Access::Open, || get(invocations::ping)),
    route("get", "/health", Access::Open, || get(invocations::ping)),
    route("get", "/version", Access::Open, || {
        get(invocations::version)
    }),
    route("get", "/livez", Access::Open, || {
        get(|State(api): State<Arc<Api>>| async move { ::health::live(&*api.telemetry) })
    }),
    route("get", "/readyz", Access::Open, || {
        get(|State(api): State<Arc<Api>>| async move { ::health::ready(&*api.telemetry) })
    }),
    route("get", "/metrics", Access::Metrics, || {
        get(|State(api): State<Arc<Api>>| async move { ::health::metrics(&*api.telemetry) })
    }),
];

/// The routes, behind the gate.
pub(super) fn router(api: &Arc<Api>) -> Router {
    let no_method = || async { Refusal::no_method().into_response() };
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
        .method_not_allowed_fallback(no_method)
        .fallback(|| async { Refusal::no_route().into_response() })
        .layer(from_fn_with_state(Arc::clone(api), gate::pass))
        .with_state(Arc::clone(api))
}
