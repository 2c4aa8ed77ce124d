//! Spans as OpenTelemetry's protocol sends them, and as MLflow keeps them.

mod json;
mod messages;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::Value;

use messages::{AnyValue, ExportTraceServiceRequest, Resource, Span};

/// The attribute that says which MLflow trace a span belongs to.
const REQUEST_ID: &str = "mlflow.traceRequestId";
const SPAN_TYPE: &str = "mlflow.spanType";
const INPUTS: &str = "mlflow.spanInputs";
const OUTPUTS: &str = "mlflow.spanOutputs";
/// Before the key of a trace's tag, in an attribute of its root span.
const TRACE_TAG: &str = "mlflow.traceTag.";
/// As long as MLflow keeps of a request and of an answer.
const PREVIEW: usize = 1000;
/// The limits of a tag.
const MAX_KEY: usize = 250;
const MAX_VALUE: usize = 8000;

/// A span, ready to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedSpan {
    /// The trace: `tr-` and the OpenTelemetry id.
    pub trace_id: String,
    /// Its id: 16 hexadecimal digits.
    pub span_id: String,
    /// The span above it; the root has none.
    pub parent_span_id: Option<String>,
    /// Its name.
    pub name: String,
    /// What kind of step it is: `LLM`, `TOOL`, …
    pub span_type: Option<String>,
    /// `OK`, `ERROR` or `UNSET`.
    pub status: &'static str,
    /// When it began, ns since the epoch.
    pub start_ns: i64,
    /// When it ended.
    pub end_ns: Option<i64>,
    /// The whole span as JSON, as it is shown.
    pub content: String,
    /// What it says of its trace.
    pub of_trace: OfTrace,
}

/// What a span says of its trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfTrace {
    /// Tags: of the program that sent it, and (from a root) of the trace.
    pub tags: Vec<(String, String)>,
    /// The session and the user.
    pub metadata: Vec<(String, String)>,
    /// Of a root: the beginning of what went in.
    pub request_preview: Option<String>,
    /// Of a root: the beginning of what came out.
    pub response_preview: Option<String>,
}

/// Why a body can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// It is no export request.
    #[error("Invalid OpenTelemetry format")]
    Format,
    /// It has no span.
    #[error("Invalid OpenTelemetry format - no spans found")]
    Empty,
    /// A span has no id, or times that are no times.
    #[error("Cannot convert OpenTelemetry span to MLflow span")]
    Span,
}

/// Reads an export request in protobuf.
///
/// # Errors
/// When it is none, or when a span of it can't be kept.
pub fn spans_of_protobuf(body: &[u8]) -> Result<Vec<ReceivedSpan>, OtlpError> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| OtlpError::Format)?;
    spans_of(&request)
}

/// Reads an export request in JSON.
///
/// # Errors
/// When it is none, or when a span of it can't be kept.
pub fn spans_of_json(body: &[u8]) -> Result<Vec<ReceivedSpan>, OtlpError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| OtlpError::Format)?;
    let request = json::read_request(&body).ok_or(OtlpError::Format)?;
    spans_of(&request)
}

fn spans_of(request: &ExportTraceServiceRequest) -> Result<Vec<ReceivedSpan>, OtlpError> {
    if request.resource_spans.is_empty() {
        return Err(OtlpError::Empty);
    }
    let mut spans = Vec::new();
    for resource_spans in &request.resource_spans {
        let tags = resource_spans.resource.as_ref().map(resource_tags);
        let tags = tags.unwrap_or_default();
        for scope in &resource_spans.scope_spans {
            for span in &scope.spans {
                spans.push(receive(span, &tags).ok_or(OtlpError::Span)?);
            }
        }
    }
    Ok(spans)
}

/// What is known of the sending program, but for what its library says of itself.
fn resource_tags(resource: &Resource) -> Vec<(String, String)> {
    resource
        .attributes
        .iter()
        .filter(|a| !a.key.starts_with("telemetry.sdk.") && !a.key.starts_with("mlflow."))
        .filter_map(|attribute| tag(&attribute.key, &attribute.value))
        .collect()
}

/// A value as text: a string as it is, all else as JSON.
fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => storable(text),
        other => other.to_string(),
    }
}

/// A text without the one character that PostgreSQL can't keep.
fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// A tag within MLflow's limits; what has a key beyond them is none.
fn tag(key: &str, value: &Option<AnyValue>) -> Option<(String, String)> {
    let good = !key.is_empty() && key.chars().count() <= MAX_KEY && !key.contains('\0');
    let value = || {
        text_of(json::plain(value))
            .chars()
            .take(MAX_VALUE)
            .collect()
    };
    good.then(|| (key.to_owned(), value()))
}

fn receive(span: &Span, resource_tags: &[(String, String)]) -> Option<ReceivedSpan> {
    if span.trace_id.len() != 16 || span.span_id.len() != 8 {
        return None;
    }
    let trace_id = format!("tr-{}", hex(&span.trace_id));
    let attribute = |key: &str| {
        span.attributes
            .iter()
            .find(|attribute| attribute.key == key)
            .map(|attribute| json::plain(&attribute.value))
    };
    let is_root = span.parent_span_id.is_empty();
    let mut of_trace = OfTrace {
        tags: resource_tags.to_vec(),
        ..OfTrace::default()
    };
    if is_root {
        for attribute in &span.attributes {
            if let Some(key) = attribute.key.strip_prefix(TRACE_TAG) {
                of_trace.tags.extend(tag(key, &attribute.value));
            }
        }
        of_trace.request_preview = attribute(INPUTS).map(preview);
        of_trace.response_preview = attribute(OUTPUTS).map(preview);
    }
    for (keys, name) in [
        (
            ["session.id", "gen_ai.conversation.id"].as_slice(),
            "mlflow.trace.session",
        ),
        (&["user.id"], "mlflow.trace.user"),
    ] {
        if let Some(value) = keys.iter().find_map(|key| attribute(key)) {
            of_trace.metadata.push((name.to_owned(), text_of(value)));
        }
    }
    Some(ReceivedSpan {
        span_id: hex(&span.span_id),
        parent_span_id: (!is_root).then(|| hex(&span.parent_span_id)),
        name: storable(span.name.clone()),
        span_type: attribute(SPAN_TYPE).map(text_of),
        status: match span.status.as_ref().map_or(0, |status| status.code) {
            1 => "OK",
            2 => "ERROR",
            _ => "UNSET",
        },
        start_ns: i64::try_from(span.start_time_unix_nano).ok()?,
        end_ns: match span.end_time_unix_nano {
            0 => None,
            end => Some(i64::try_from(end).ok()?),
        },
        content: json::write_span(span, &trace_id).to_string(),
        trace_id,
        of_trace,
    })
}

fn preview(value: Value) -> String {
    let text = text_of(value);
    match text.char_indices().nth(PREVIEW) {
        None => text,
        Some(_) => text
            .chars()
            .take(PREVIEW - 3)
            .chain("...".chars())
            .collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String can't fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn base64_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A stored span in the form of MLflow's trace files, which the web page reads.
#[must_use]
pub fn trace_file_span(content: &Value) -> Value {
    json::file_span(content)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_protobuf_mean_the_same() {
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "shop"}},
                {"key": "telemetry.sdk.name", "value": {"stringValue": "x"}},
            ]},
            "scopeSpans": [{"spans": [{
                "traceId": "0af7651916cd43dd8448eb211c80319c",
                "spanId": "b7ad6b7169203331",
                "name": "root",
                "kind": 2,
                "startTimeUnixNano": "1544712660000000000",
                "endTimeUnixNano": 1544712661000000000_i64,
                "attributes": [
                    {"key": "n", "value": {"intValue": "7"}},
                    {"key": "mlflow.spanInputs", "value": {"kvlistValue": {"values": [
                        {"key": "q", "value": {"stringValue": "why"}},
                    ]}}},
                    {"key": "session.id", "value": {"stringValue": "s\u{0}1"}},
                    {"key": "mlflow.traceTag.", "value": {"stringValue": "no key"}},
                    {"key": "mlflow.traceTag.team", "value": {"stringValue": "risk"}},
                ],
                "status": {"code": 2, "message": "bad"},
                "events": [{"timeUnixNano": "5", "name": "e", "attributes": []}],
            }]}],
        }]});
        let spans = spans_of_json(body.to_string().as_bytes()).unwrap();
        let request = json::read_request(&body).unwrap();
        assert_eq!(spans_of_protobuf(&request.encode_to_vec()).unwrap(), spans);
        let [span] = spans.as_slice() else {
            panic!("{spans:?}")
        };
        assert_eq!(span.trace_id, "tr-0af7651916cd43dd8448eb211c80319c");
        assert_eq!((span.status, span.parent_span_id.as_ref()), ("ERROR", None));
        assert_eq!(
            span.of_trace.request_preview.as_deref(),
            Some(r#"{"q":"why"}"#)
        );
        assert_eq!(
            span.of_trace.tags,
            [
                ("service.name".to_owned(), "shop".to_owned()),
                ("team".to_owned(), "risk".to_owned())
            ]
        );
        assert_eq!(
            span.of_trace.metadata,
            [("mlflow.trace.session".to_owned(), "s\u{fffd}1".to_owned())]
        );
        let content: Value = serde_json::from_str(&span.content).unwrap();
        assert_eq!(content["trace_id"], "CvdlGRbNQ92ESOshHIAxnA==");
        assert_eq!(
            content["start_time_unix_nano"],
            1_544_712_660_000_000_000_i64
        );
        assert_eq!(content["kind"], "SPAN_KIND_SERVER");
        let file = trace_file_span(&content);
        assert_eq!(file["attributes"]["mlflow.spanInputs"], r#"{"q":"why"}"#);
        assert_eq!(file["attributes"]["n"], "7");
        assert_eq!(file["status"]["code"], "STATUS_CODE_ERROR");
    }

    #[test]
    fn what_is_no_export_is_refused() {
        assert_eq!(spans_of_protobuf(&[]), Err(OtlpError::Empty));
        assert_eq!(spans_of_protobuf(b"nonsense"), Err(OtlpError::Format));
        assert_eq!(spans_of_json(b"[]"), Err(OtlpError::Format));
        let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": "00", "spanId": "b7ad6b7169203331"},
        ]}]}]});
        assert_eq!(
            spans_of_json(body.to_string().as_bytes()),
            Err(OtlpError::Span)
        );
    }
}
