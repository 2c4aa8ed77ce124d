//! Traces for OpenTelemetry: a span for each request, sent with OTLP over HTTP.
//!
//! The usual variables say where to and how many: `OTEL_EXPORTER_OTLP_ENDPOINT` (or
//! `…_TRACES_ENDPOINT`) switches it on; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` and the rest are read by the SDK.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Where spans go.
#[derive(Debug, Clone)]
pub(crate) struct Traces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

/// The span of one request.
pub(crate) struct ServerSpan(opentelemetry_sdk::trace::Span);

impl Traces {
    /// The exporter that the environment asks for, if it asks for one.
    pub(crate) fn from_env() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is = |name: &str, text: &str| {
            std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case(text))
        };
        if !ENDPOINTS.into_iter().any(set)
            || is("OTEL_SDK_DISABLED", "true")
            || is("OTEL_TRACES_EXPORTER", "none")
        {
            return None;
        }
        match Self::new() {
            Ok(traces) => Some(traces),
            Err(error) => {
                tracing::error!(error, "traces are not exported");
                None
            }
        }
    }

    fn new() -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .build()
            .map_err(|error| error.to_string())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(OnRuntime {
                client,
                runtime: tokio::runtime::Handle::try_current().map_err(|e| e.to_string())?,
            })
            .build()
            .map_err(|error| error.to_string())?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("registry");
        }
        let resource = resource
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("registry");
        Ok(Self(Arc::new(Inner {
            provider,
            tracer,
            propagator: TraceContextPropagator::new(),
        })))
    }

    /// Begins the span of a request; its parent is the one that the client names.
    pub(crate) fn begin(
        &self,
        method: &Method,
        route: &super::Template,
        request_id: &str,
        headers: &HeaderMap,
    ) -> ServerSpan {
        let parent = self
            .0
            .propagator
            .extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let builder = self
            .0
            .tracer
            .span_builder(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_string()),
                KeyValue::new("http.route", Arc::clone(route)),
                KeyValue::new("http.request.header.x-request-id", request_id.to_owned()),
            ]);
        ServerSpan(self.0.tracer.build_with_context(builder, &parent))
    }

    /// Sends what is left; a few seconds at most.
    pub(crate) async fn stop(&self) {
        let provider = self.0.provider.clone();
        let stopped =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(STOP)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// How long the last spans may take.
const STOP: Duration = Duration::from_secs(3);

impl ServerSpan {
    /// Ends the span of a request that was answered.
    pub(crate) fn end(mut self, status: StatusCode) {
        self.0.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        ));
        if status.is_server_error() {
            self.0.set_status(Status::error(status.as_str().to_owned()));
        }
        self.0.end();
    }
}

/// The exporter has a thread of its own, where no runtime is: it asks through this one.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

/// What the trait promises, written out.
type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for OnRuntime {
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let request = request.map(reqwest::Body::from).try_into()?;
            let mut answer = client.execute(request).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                *headers = std::mem::take(answer.headers_mut());
            }
            Ok(response.body(answer.bytes().await?)?)
        });
        Box::pin(async move { sent.await? })
    }
}
