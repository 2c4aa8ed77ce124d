//! `/v1/traces`: spans as OpenTelemetry's exporters and MLflow's clients send them.

use std::collections::HashSet;
use std::io::Read;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use mlflow_api::ErrorCode;

use super::error::ApiError;
use crate::Registry;
use crate::auth::{Role, Viewer};
use crate::otlp;
use crate::store::Owned;

/// The largest body, and the largest that it may unpack to.
const MAX_BODY: usize = 64 * 1024 * 1024;
const EXPERIMENT: &str = "x-mlflow-experiment-id";
const RUN: &str = "x-mlflow-run-id";

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message)
}

pub(super) async fn export(
    State(registry): State<Registry>,
    viewer: Viewer,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let experiment =
        header(EXPERIMENT).ok_or_else(|| bad(format!("The header {EXPERIMENT} is missing.")))?;
    let run = header(RUN);
    let content_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    let read = match mime {
        "application/x-protobuf" => otlp::spans_of_protobuf,
        "application/json" => otlp::spans_of_json,
        _ => {
            return Err(bad(format!(
                "Invalid Content-Type: {content_type}. Expected: application/x-protobuf or \
                 application/json"
            )));
        }
    };
    let encoding = header(CONTENT_ENCODING.as_str());
    let too_large = || bad(format!("The body is larger than {MAX_BODY} bytes.")).with_status(413);
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| too_large())?;
    // Unpacking and reading a large body takes longer than others should wait.
    let spans = tokio::task::spawn_blocking(move || {
        let body = unpack(body, encoding.as_deref())?;
        if body.len() > MAX_BODY {
            return Err(too_large());
        }
        read(&body).map_err(|error| {
            let status = match error {
                otlp::OtlpError::Span => 422,
                otlp::OtlpError::Format | otlp::OtlpError::Empty => 400,
            };
            bad(error.to_string()).with_status(status)
        })
    })
    .await
    .map_err(|_| ApiError::new(ErrorCode::InternalError, "Reading the spans failed."))??;
    // The header says where new traces belong; spans and runs name others, too.
    let store = registry.store();
    let traces: HashSet<&str> = spans.iter().map(|span| &*span.trace_id).collect();
    viewer
        .require(store, Owned::Trace, traces, Role::Writer)
        .await?;
    viewer
        .require(store, Owned::Run, run.as_deref(), Role::Writer)
        .await?;
    store.log_spans(&experiment, &spans).await?;
    if let Some(run) = run {
        let mut traces: Vec<String> = spans
            .into_iter()
            .filter(|span| span.parent_span_id.is_none())
            .map(|span| span.trace_id)
            .collect();
        traces.sort_unstable();
        traces.dedup();
        store.link_traces_to_run(&traces, &run).await?;
    }
    // An empty `ExportTraceServiceResponse`: everything was taken.
    let mut response = Bytes::new().into_response();
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    Ok(response)
}

/// The body without its compression, cut a byte after the limit.
fn unpack(body: Bytes, encoding: Option<&str>) -> Result<Bytes, ApiError> {
    fn all(reader: impl Read) -> Option<Bytes> {
        let mut unpacked = Vec::new();
        let limit = u64::try_from(MAX_BODY).ok()?.saturating_add(1);
        reader.take(limit).read_to_end(&mut unpacked).ok()?;
        Some(unpacked.into())
    }
    let encoding = encoding.unwrap_or("identity").to_ascii_lowercase();
    let unpacked = match encoding.as_str() {
        "identity" => Some(body),
        "gzip" => all(GzDecoder::new(&*body)),
        // Some senders leave the frame out.
        "deflate" => all(ZlibDecoder::new(&*body)).or_else(|| all(DeflateDecoder::new(&*body))),
        _ => return Err(bad(format!("Unsupported Content-Encoding: {encoding}"))),
    };
    unpacked.ok_or_else(|| bad(format!("Failed to decompress {encoding} payload")))
}
