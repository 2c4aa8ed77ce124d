//! The messages as JSON: OTLP's (camelCase, hexadecimal ids), MLflow's answers (snake_case, base64
//! ids), and MLflow's trace files (attributes as JSON texts).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::messages::{
    AnyKind, AnyValue, ArrayValue, Event, ExportTraceServiceRequest, KeyValue, KeyValueList, Link,
    Resource, ResourceSpans, ScopeSpans, Span, Status,
};
use super::{REQUEST_ID, base64_of};

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// Reads OTLP's JSON; `None` where it is something else.
pub(super) fn read_request(body: &Value) -> Option<ExportTraceServiceRequest> {
    body.as_object()?;
    Some(ExportTraceServiceRequest {
        resource_spans: each(body, "resourceSpans", |resource_spans| {
            let resource = resource_spans.get("resource");
            Some(ResourceSpans {
                resource: match resource {
                    None | Some(Value::Null) => None,
                    Some(resource) => Some(Resource {
                        attributes: each(resource, "attributes", read_pair)?,
                    }),
                },
                scope_spans: each(resource_spans, "scopeSpans", |scope| {
                    Some(ScopeSpans {
                        spans: each(scope, "spans", read_span)?,
                    })
                })?,
            })
        })?,
    })
}

/// The elements of a repeated field, which may be missing.
fn each<T>(message: &Value, field: &str, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match message.get(field) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(values) => values.as_array()?.iter().map(read).collect(),
    }
}

fn read_span(span: &Value) -> Option<Span> {
    Some(Span {
        trace_id: read_hex(span, "traceId")?,
        span_id: read_hex(span, "spanId")?,
        trace_state: read_text(span, "traceState")?,
        parent_span_id: read_hex(span, "parentSpanId")?,
        name: read_text(span, "name")?,
        kind: read_enum(span, "kind", &KINDS)?,
        start_time_unix_nano: read_u64(span, "startTimeUnixNano")?,
        end_time_unix_nano: read_u64(span, "endTimeUnixNano")?,
        attributes: each(span, "attributes", read_pair)?,
        events: each(span, "events", |event| {
            Some(Event {
                time_unix_nano: read_u64(event, "timeUnixNano")?,
                name: read_text(event, "name")?,
                attributes: each(event, "attributes", read_pair)?,
            })
        })?,
        links: each(span, "links", |link| {
            Some(Link {
                trace_id: read_hex(link, "traceId")?,
                span_id: read_hex(link, "spanId")?,
                attributes: each(link, "attributes", read_pair)?,
            })
        })?,
        status: match span.get("status") {
            None | Some(Value::Null) => None,
            Some(status) => Some(Status {
                message: read_text(status, "message")?,
                code: read_enum(status, "code", &CODES)?,
            }),
        },
    })
}

fn read_text(message: &Value, field: &str) -> Option<String> {
    match message.get(field) {
        None | Some(Value::Null) => Some(String::new()),
        Some(value) => value.as_str().map(str::to_owned),
    }
}

fn read_u64(message: &Value, field: &str) -> Option<u64> {
    match message.get(field) {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
    }
}

fn read_enum(message: &Value, field: &str, names: &[&str]) -> Option<i32> {
    match message.get(field) {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => {
            let at = names.iter().position(|name| name == text)?;
            i32::try_from(at).ok()
        }
        Some(value) => i32::try_from(value.as_i64()?).ok(),
    }
}

fn read_hex(message: &Value, field: &str) -> Option<Vec<u8>> {
    let text = read_text(message, field)?;
    if !text.is_ascii() || text.len() % 2 != 0 {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

fn read_pair(pair: &Value) -> Option<KeyValue> {
    Some(KeyValue {
        key: read_text(pair, "key")?,
        value: match pair.get("value") {
            None | Some(Value::Null) => None,
            Some(value) => Some(read_any(value)?),
        },
    })
}

fn read_any(value: &Value) -> Option<AnyValue> {
    let Some((kind, inner)) = value.as_object()?.iter().next() else {
        return Some(AnyValue { value: None });
    };
    let kind = match kind.as_str() {
        "stringValue" => AnyKind::String(inner.as_str()?.to_owned()),
        "boolValue" => AnyKind::Bool(inner.as_bool()?),
        "intValue" => AnyKind::Int(match inner {
            Value::String(text) => text.parse().ok()?,
            number => number.as_i64()?,
        }),
        "doubleValue" => AnyKind::Double(match inner {
            Value::String(text) => text.parse().ok()?,
            number => number.as_f64()?,
        }),
        "arrayValue" => AnyKind::Array(ArrayValue {
            values: each(inner, "values", read_any)?,
        }),
        "kvlistValue" => AnyKind::KvList(KeyValueList {
            values: each(inner, "values", read_pair)?,
        }),
        "bytesValue" => AnyKind::Bytes(STANDARD.decode(inner.as_str()?).ok()?),
        _ => return Some(AnyValue { value: None }),
    };
    Some(AnyValue { value: Some(kind) })
}

/// A span as MLflow's API shows it. A sender doesn't say which MLflow trace it writes to: the id of
/// the trace does.
pub(super) fn write_span(span: &Span, trace_id: &str) -> Value {
    let request_id = KeyValue {
        key: REQUEST_ID.to_owned(),
        value: Some(AnyValue {
            value: Some(AnyKind::String(trace_id.to_owned())),
        }),
    };
    let attributes = span.attributes.iter().filter(|a| a.key != REQUEST_ID);
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| {
        let absent = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Number(number) => number.as_u64() == Some(0),
            Value::Null => true,
            Value::Bool(_) | Value::Object(_) => false,
        };
        if !absent {
            shown.insert(key.to_owned(), value);
        }
    };
    put("trace_id", base64_of(&span.trace_id).into());
    put("span_id", base64_of(&span.span_id).into());
    put("trace_state", span.trace_state.clone().into());
    put("parent_span_id", base64_of(&span.parent_span_id).into());
    put("name", span.name.clone().into());
    let kind = usize::try_from(span.kind).unwrap_or(0);
    if kind > 0 {
        put("kind", KINDS.get(kind).copied().unwrap_or_default().into());
    }
    put("start_time_unix_nano", span.start_time_unix_nano.into());
    put("end_time_unix_nano", span.end_time_unix_nano.into());
    put(
        "attributes",
        std::iter::once(&request_id)
            .chain(attributes)
            .map(write_pair)
            .collect(),
    );
    let events = span.events.iter().map(|event| {
        json!({
            "time_unix_nano": event.time_unix_nano,
            "name": event.name,
            "attributes": event.attributes.iter().map(write_pair).collect::<Value>(),
        })
    });
    put("events", events.collect());
    let links = span.links.iter().map(|link| {
        json!({
            "trace_id": base64_of(&link.trace_id),
            "span_id": base64_of(&link.span_id),
            "attributes": link.attributes.iter().map(write_pair).collect::<Value>(),
        })
    });
    put("links", links.collect());
    if let Some(status) = &span.status {
        let code = usize::try_from(status.code).unwrap_or(0);
        let code = CODES.get(code).copied().unwrap_or(CODES[0]);
        put("status", json!({"message": status.message, "code": code}));
    }
    Value::Object(shown)
}

fn write_pair(pair: &KeyValue) -> Value {
    match &pair.value {
        Some(value) => json!({"key": pair.key, "value": write_any(value)}),
        None => json!({"key": pair.key}),
    }
}

fn write_any(value: &AnyValue) -> Value {
    match &value.value {
        None => json!({}),
        Some(AnyKind::String(text)) => json!({"string_value": text}),
        Some(AnyKind::Bool(truth)) => json!({"bool_value": truth}),
        Some(AnyKind::Int(number)) => json!({"int_value": number}),
        Some(AnyKind::Double(number)) => json!({"double_value": write_double(*number)}),
        Some(AnyKind::Array(array)) => {
            json!({"array_value": {"values": array.values.iter().map(write_any).collect::<Value>()}})
        }
        Some(AnyKind::KvList(list)) => {
            json!({"kvlist_value": {"values": list.values.iter().map(write_pair).collect::<Value>()}})
        }
        Some(AnyKind::Bytes(bytes)) => json!({"bytes_value": base64_of(bytes)}),
    }
}

/// JSON has no NaN; protobuf writes a word.
fn write_double(number: f64) -> Value {
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into()
    } else {
        number.into()
    }
}

/// A value without its type.
pub(super) fn plain(value: &Option<AnyValue>) -> Value {
    fn of(value: &AnyValue) -> Value {
        match &value.value {
            None => Value::Null,
            Some(AnyKind::String(text)) => text.clone().into(),
            Some(AnyKind::Bool(truth)) => (*truth).into(),
            Some(AnyKind::Int(number)) => (*number).into(),
            Some(AnyKind::Double(number)) => write_double(*number),
            Some(AnyKind::Array(array)) => array.values.iter().map(of).collect(),
            Some(AnyKind::KvList(list)) => list
                .values
                .iter()
                .map(|pair| (pair.key.clone(), plain(&pair.value)))
                .collect(),
            Some(AnyKind::Bytes(bytes)) => base64_of(bytes).into(),
        }
    }
    value.as_ref().map_or(Value::Null, of)
}

/// The same for a value as [`write_any`] wrote it.
fn plain_written(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|value| value.iter().next()) else {
        return Value::Null;
    };
    let values = || inner["values"].as_array().into_iter().flatten();
    match kind.as_str() {
        "array_value" => values().map(plain_written).collect(),
        "kvlist_value" => Value::Object(pairs(values())),
        _ => inner.clone(),
    }
}

fn pairs<'a>(written: impl Iterator<Item = &'a Value>) -> Map<String, Value> {
    written
        .map(|pair| {
            let key = pair["key"].as_str().unwrap_or_default().to_owned();
            (key, plain_written(&pair["value"]))
        })
        .collect()
}

/// A span of [`write_span`] in the form of trace files: attributes are JSON texts.
pub(super) fn file_span(span: &Value) -> Value {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let attributes: Map<String, Value> = pairs(list(&span["attributes"]).iter())
        .into_iter()
        .map(|(key, value)| (key, value.to_string().into()))
        .collect();
    let events: Value = list(&span["events"])
        .iter()
        .map(|event| {
            json!({
                "name": event["name"],
                "time_unix_nano": event["time_unix_nano"],
                "attributes": pairs(list(&event["attributes"]).iter()),
            })
        })
        .collect();
    let links: Value = list(&span["links"])
        .iter()
        .map(|link| {
            json!({
                "trace_id": link["trace_id"],
                "span_id": link["span_id"],
                "attributes": pairs(list(&link["attributes"]).iter()),
            })
        })
        .collect();
    let code = span["status"]["code"].as_str().unwrap_or(CODES[0]);
    json!({
        "trace_id": span["trace_id"],
        "span_id": span["span_id"],
        "parent_span_id": span["parent_span_id"],
        "name": span["name"],
        "start_time_unix_nano": span["start_time_unix_nano"],
        "end_time_unix_nano": span["end_time_unix_nano"],
        "events": events,
        "links": links,
        "status": {"code": code, "message": span["status"]["message"].as_str().unwrap_or_default()},
        "attributes": attributes,
    })
}
