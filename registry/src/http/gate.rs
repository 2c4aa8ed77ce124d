//! What stands before every route.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::header::{
    CONTENT_LENGTH, ORIGIN, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http_body_util::Limited;
use mlflow_api::ErrorCode;
use tower::{Layer, Service};

use super::accept::Peer;
use super::body::watched;
use super::gateway::{Entry, Gateway};
use super::limits::client_of;
use super::request_id::{self, X_REQUEST_ID};
use crate::api::{ApiError, LONGEST_WAIT, panicked};
use crate::audit::Event;
use crate::auth::{Known, Principal, Refusal, Rule, Viewer, decide};

/// How long the rest of a refused upload is read.
const DRAIN: Duration = Duration::from_secs(30);

/// Puts the gate before every route of a router.
#[derive(Debug, Clone)]
pub(crate) struct GateLayer(pub(crate) Arc<Gateway>);

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            gateway: Arc::clone(&self.0),
        }
    }
}

/// What stands before one route.
#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    inner: S,
    gateway: Arc<Gateway>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        // What was made ready is what must be called; the clone takes its place.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let gateway = Arc::clone(&self.gateway);
        let id = request_id::of(request.headers());
        Box::pin(request_id::scope(id.clone(), async move {
            Ok(gateway.handle(inner, request, id).await)
        }))
    }
}

/// What is known of a request before its handler runs.
struct Arrival {
    started: Instant,
    entry: Arc<Entry>,
    client: IpAddr,
    id: HeaderValue,
    /// Whether the client asked to be answered late: `?wait=30` or `Prefer: wait=30`.
    waits: bool,
}

impl Arrival {
    /// Whether the request is held until something happens.
    fn holds(&self) -> bool {
        self.waits && self.entry.may_hold
    }
}

/// The answer to a request that is refused, and the request where its body is still to be read.
type Refused = Box<(Response, Option<Request<Body>>)>;

/// What the audit log will want to know.
#[derive(Default)]
struct Noted {
    user: Option<Arc<Principal>>,
    /// Path and query; absent when the request is not audited.
    target: Option<String>,
    body: Bytes,
}

impl Gateway {
    async fn handle<S>(
        self: Arc<Self>,
        inner: S,
        mut request: Request<Body>,
        id: HeaderValue,
    ) -> Response
    where
        S: Service<Request<Body>, Response = Response, Error = Infallible>,
    {
        let arrival = Arrival {
            started: Instant::now(),
            entry: self.entry(&request),
            client: self.client(&request),
            waits: request.headers().contains_key("prefer")
                || request.uri().query().is_some_and(|q| q.contains("wait=")),
            id,
        };
        let entry = &*arrival.entry;
        if entry.asks_gateway {
            request.extensions_mut().insert(Arc::clone(&self));
        }
        let span = self.traces.as_ref().map(|traces| {
            let id = arrival.id.to_str().unwrap_or_default();
            traces.begin(request.method(), &entry.template, id, request.headers())
        });
        // Only pages in a browser have one, and only they look for the answer's.
        let page = request.headers().get(ORIGIN).cloned();

        let mut response = match self.origins.answer(&request) {
            Some(answer) => answer,
            None => self.admit(inner, request, &arrival).await,
        };

        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        headers.insert(X_REQUEST_ID, arrival.id.clone());
        if let Some(origin) = page {
            let mut asked = HeaderMap::with_capacity(1);
            asked.insert(ORIGIN, origin);
            self.origins.grant(&asked, headers);
        }
        let (status, elapsed) = (response.status(), arrival.started.elapsed());
        if status == StatusCode::SERVICE_UNAVAILABLE
            && !response.headers().contains_key(RETRY_AFTER)
        {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        entry.metrics.observe(status, elapsed);
        if let Some(span) = span {
            span.end(status);
        }
        self.log(&arrival, status, elapsed);
        response
    }

    fn log(&self, arrival: &Arrival, status: StatusCode, elapsed: Duration) {
        let entry = &arrival.entry;
        let (method, route) = (entry.method, &*entry.template);
        let (status, ms) = (status.as_u16(), elapsed.as_secs_f64() * 1e3);
        if status >= 500 && !entry.probe {
            tracing::warn!(method, route, status, ms, client = %arrival.client, "request failed");
        } else if elapsed >= self.options().slow_request && !entry.receives() && !arrival.waits {
            tracing::warn!(method, route, status, ms, client = %arrival.client, "slow request");
        } else {
            tracing::debug!(method, route, status, ms, client = %arrival.client, "request");
        }
    }

    /// Who is at the other end; a proxy that is trusted says for whom it asks.
    fn client(&self, request: &Request<Body>) -> IpAddr {
        let peer = request
            .extensions()
            .get::<Peer>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
                peer.0.ip().to_canonical()
            });
        let proxies = &self.options().trusted_proxies;
        if proxies.is_empty() || !proxies.contains(&peer) {
            return peer;
        }
        // The last address that no trusted proxy has: those before it may be made up.
        request
            .headers()
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|address| address.trim().parse::<IpAddr>().ok())
            .map(|address| address.to_canonical())
            .rfind(|address| !proxies.contains(address))
            .unwrap_or(peer)
    }

    /// Lets a request in, as far as limits and roles allow.
    async fn admit<S>(&self, inner: S, request: Request<Body>, arrival: &Arrival) -> Response
    where
        S: Service<Request<Body>, Response = Response, Error = Infallible>,
    {
        let entry = &*arrival.entry;
        let slot = if entry.probe {
            self.in_flight.take_always()
        } else {
            if let Some(buckets) = &self.per_client
                && let Err(wait) = buckets.take(client_of(arrival.client))
            {
                self.telemetry().refused_request();
                return refuse(too_many(wait), request).await;
            }
            let Some(slot) = self.in_flight.take() else {
                self.telemetry().refused_request();
                return refuse(busy(), request).await;
            };
            slot
        };
        let mut noted = Noted::default();
        // A body that is read here is small; one that trickles in must not hold its place for ever.
        let patience = self.options().request_timeout;
        let checked = self.checked(request, arrival, &mut noted);
        let checked = tokio::time::timeout(patience, checked).await;
        let response = match checked {
            Ok(Ok((request, viewer))) => {
                // Who waits for something to happen keeps nobody from working.
                let slot = (!arrival.holds()).then_some(slot);
                let response = self.answer(inner, request, arrival).await;
                drop(slot);
                seen(response, entry.rule, viewer)
            }
            Ok(Err(refused)) => {
                drop(slot);
                match *refused {
                    (response, Some(request)) => refuse(response, request).await,
                    (response, None) => response,
                }
            }
            Err(_) => ApiError::too_slow(patience).into_response(),
        };
        self.note(response, noted, arrival).await
    }

    /// Finds out who asks, and whether they may.
    async fn checked(
        &self,
        request: Request<Body>,
        arrival: &Arrival,
        noted: &mut Noted,
    ) -> Result<(Request<Body>, Option<Viewer>), Refused> {
        let entry = &*arrival.entry;
        let principal = match entry.rule {
            Rule::Public | Rule::Signed => None,
            _ => match self.auth().known(request.headers()) {
                Known::Anyone => None,
                Known::User(principal) => Some(principal),
                Known::NotYet => {
                    let client = client_of(arrival.client);
                    match self.auth().login(request.headers(), client).await {
                        Ok(principal) => Some(principal),
                        Err(refusal) => return Err(Box::new((refused(refusal), Some(request)))),
                    }
                }
            },
        };
        noted.user.clone_from(&principal);
        if entry.audited {
            noted.target = Some(
                request
                    .uri()
                    .path_and_query()
                    .map_or_else(String::new, ToString::to_string),
            );
        }
        // A role that is the same everywhere tells without looking.
        if let Some(principal) = &principal
            && principal.is_plain()
            && principal.role < entry.role
        {
            return Err(Box::new((
                ApiError::denied().into_response(),
                Some(request),
            )));
        }
        let mut request = self.bounded(request, entry)?;
        if entry.audited && !entry.receives() {
            let (parts, body) = request.into_parts();
            let Ok(bytes) = to_bytes(body, usize::MAX).await else {
                return Err(Box::new((
                    ApiError::unreadable_body().into_response(),
                    None,
                )));
            };
            noted.body = bytes.clone();
            request = Request::from_parts(parts, Body::from(bytes));
        }
        let Some(principal) = principal else {
            return Ok((request, None));
        };
        let viewer = Viewer::new(Arc::clone(&principal));
        request.extensions_mut().insert(viewer.clone());
        if principal.is_plain() {
            return Ok((request, None));
        }
        match decide(
            &principal,
            entry.rule,
            &entry.template,
            request,
            &self.owners,
        )
        .await
        {
            Ok(request) => Ok((request, Some(viewer))),
            Err(error) => Err(Box::new((error.into_response(), None))),
        }
    }

    /// Bounds the body: its size, or how long its sender may be silent.
    fn bounded(&self, request: Request<Body>, entry: &Entry) -> Result<Request<Body>, Refused> {
        if entry.receives() {
            let bytes = self.telemetry().artifact_bytes_in.clone();
            let idle = Some(self.options().body_idle_timeout);
            return Ok(request.map(|body| watched(body, bytes, idle)));
        }
        let most = self.options().max_body_bytes;
        let headers = request.headers();
        if let Some(length) = headers.get(CONTENT_LENGTH) {
            let length = length.to_str().ok().and_then(|l| l.parse::<u64>().ok());
            if length.is_some_and(|length| length <= most) {
                return Ok(request);
            }
            return Err(Box::new((
                ApiError::too_large(most).into_response(),
                Some(request),
            )));
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            return Ok(request.map(|body| Body::new(Limited::new(body, most))));
        }
        Ok(request)
    }

    /// Runs the handler.
    async fn answer<S>(&self, mut inner: S, request: Request<Body>, arrival: &Arrival) -> Response
    where
        S: Service<Request<Body>, Response = Response, Error = Infallible>,
    {
        let entry = &*arrival.entry;
        let answered = AssertUnwindSafe(inner.call(request)).catch_unwind();
        let longer = if arrival.holds() {
            LONGEST_WAIT
        } else {
            Duration::ZERO
        };
        let answered = match self.patience(entry).map(|patience| patience + longer) {
            None => answered.await,
            Some(patience) => match tokio::time::timeout(patience, answered).await {
                Ok(answered) => answered,
                Err(_) => return ApiError::too_slow(patience).into_response(),
            },
        };
        match answered {
            Ok(Ok(response)) if entry.sends => {
                let bytes = self.telemetry().artifact_bytes_out.clone();
                response.map(|body| watched(body, bytes, None))
            }
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => panicked(panic),
        }
    }

    /// Tells the audit log, where it wants to know.
    async fn note(&self, response: Response, noted: Noted, arrival: &Arrival) -> Response {
        let (Some(audit), Some(target)) = (&self.audit, noted.target) else {
            return response;
        };
        let entry = &arrival.entry;
        let status = response.status();
        let (answer, response) = if entry.creates && status.is_success() {
            let (parts, body) = response.into_parts();
            // What was made is small and in memory.
            let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
            let response = Response::from_parts(parts, Body::from(bytes.clone()));
            (bytes, response)
        } else {
            (Bytes::new(), response)
        };
        let event = Event {
            time: now(),
            user: noted.user,
            client: arrival.client,
            request_id: arrival.id.clone(),
            method: entry.method,
            route: Arc::clone(&entry.template),
            target,
            body: noted.body,
            answer,
            status: status.as_u16(),
        };
        audit.note(event).await;
        response
    }
}

fn now() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| {
        i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The answer of a search, unless its handler forgot to leave out what the user can't read.
fn seen(response: Response, rule: Rule, viewer: Option<Viewer>) -> Response {
    let forgot = rule == Rule::Filtered && viewer.is_some_and(|viewer| !viewer.was_asked());
    if forgot && response.status().is_success() {
        tracing::error!("a search does not look at what its user may read");
        return ApiError::denied().into_response();
    }
    response
}

/// Reads what the client is still sending, or it would see a reset connection instead of the
/// answer.
async fn refuse(response: Response, request: Request<Body>) -> Response {
    let mut body = request.into_body().into_data_stream();
    let rest = async { while let Some(Ok(_)) = body.next().await {} };
    tokio::time::timeout(DRAIN, rest).await.ok();
    response
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unauthenticated => {
            let mut response = ApiError::new(
                ErrorCode::Unauthenticated,
                "You are not authenticated. Please see \
                 https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow \
                 on how to authenticate.",
            )
            .into_response();
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"mlflow\""),
            );
            response
        }
        Refusal::TooMany(wait) => too_many(wait),
        Refusal::Busy => busy(),
        Refusal::Failed(error) => ApiError::from(error).into_response(),
    }
}

fn too_many(wait: Duration) -> Response {
    let mut response = ApiError::new(
        ErrorCode::RequestLimitExceeded,
        "Too many requests; try again later.",
    )
    .into_response();
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    response.headers_mut().insert(
        RETRY_AFTER,
        HeaderValue::from_str(&seconds.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("1")),
    );
    response
}

fn busy() -> Response {
    ApiError::new(
        ErrorCode::TemporarilyUnavailable,
        "The server has too much to do; try again.",
    )
    .into_response()
}
