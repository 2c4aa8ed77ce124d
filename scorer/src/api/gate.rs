//! What stands before every route: limits, the token, a time limit, metrics.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{HeaderMap, HeaderValue, Request, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;

use super::Api;
use super::accept::Peer;
use super::body::drain;
use super::error::Refusal;
use super::routes::{Access, ROUTES, Route};
use crate::telemetry::Telemetry;

/// What requests to no route are counted as.
const NO_ROUTE: &str = "none";

pub(super) async fn pass(
    State(api): State<Arc<Api>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|path| ROUTES.iter().find(|route| route.path == path.as_str()));
    let _counted = InFlight::new(&api.telemetry);
    let mut response = match admit(&api, route, request, next).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    // What is true now is not true for long.
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    let name = route.map_or(NO_ROUTE, |route| route.path);
    let (status, took) = (response.status().as_u16(), began.elapsed());
    api.telemetry.http.answered(name, status, took);
    if status >= 500 && route.is_some_and(|route| route.access == Access::Token) {
        tracing::warn!(
            route = name,
            status,
            ?took,
            "a request was not answered well"
        );
    }
    response
}

/// As long as it lives, a request is under way.
struct InFlight<'a>(&'a Telemetry);

impl<'a> InFlight<'a> {
    fn new(telemetry: &'a Telemetry) -> Self {
        telemetry.http.in_flight(1);
        Self(telemetry)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.http.in_flight(-1);
    }
}

async fn admit(
    api: &Api,
    route: Option<&Route>,
    request: Request<Body>,
    next: Next,
) -> Result<Response, Refusal> {
    let access = route.map_or(Access::Token, |route| route.access);
    let is_guarded = match access {
        Access::Open => false,
        Access::Metrics => api.config.api.protect_metrics,
        Access::Token => true,
    };
    if !is_guarded {
        return within(api, request, next).await;
    }
    // Guesses at the token are counted as well.
    if let Some(buckets) = &api.buckets
        && let Err(wait) = buckets.take(caller(&request))
    {
        return refuse(api, request, Refusal::too_often(wait)).await;
    }
    if !knows_token(api, request.headers()) {
        return refuse(api, request, Refusal::unauthenticated()).await;
    }
    if route.is_some_and(|route| route.is_stream) {
        return answer(request, next).await;
    }
    let Ok(_slot) = api.requests.try_acquire() else {
        let full = Refusal::unavailable("too many requests are under way; try again");
        return refuse(api, request, full).await;
    };
    within(api, request, next).await
}

/// Answers in time, or not at all.
async fn within(api: &Api, request: Request<Body>, next: Next) -> Result<Response, Refusal> {
    let patience = api.config.api.timeout.0;
    match tokio::time::timeout(patience, answer(request, next)).await {
        Ok(answered) => answered,
        Err(_) => Err(Refusal::slow(patience)),
    }
}

/// Asks the handler; a panic is a fault of ours, which must not look like a lost connection.
async fn answer(request: Request<Body>, next: Next) -> Result<Response, Refusal> {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.map_err(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown");
        tracing::error!(panic = what, "a handler panicked");
        Refusal::internal()
    })
}

/// Refuses before the body was read.
async fn refuse(api: &Api, request: Request<Body>, refusal: Refusal) -> Result<Response, Refusal> {
    drain(request.into_body(), api.config.api.max_body / 4).await;
    Err(refusal)
}

fn caller(request: &Request<Body>) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

/// Whether a request may pass: it has the token, or there is none to have.
fn knows_token(api: &Api, headers: &HeaderMap) -> bool {
    let Some(token) = &api.token else { return true };
    let given = headers
        .get(header::AUTHORIZATION)
        .map(HeaderValue::as_bytes);
    let given = given.and_then(|given| {
        let (scheme, rest) = given.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
    });
    given.is_some_and(|given| token.is(given.trim_ascii()))
}
