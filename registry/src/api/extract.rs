//! Requests as MLflow's server reads them.

use std::collections::HashSet;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use bytes::Bytes;
use mlflow_api::ErrorCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;

/// A message: the query of a GET or HEAD (where it has one), else the JSON body.
pub(super) struct Rpc<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Rpc<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let from_query =
            is_read(&request) && request.uri().query().is_some_and(|query| !query.is_empty());
        let message = if from_query {
            snake_case(message_of_query(request.uri())?.into())?
        } else {
            let body = bytes(request).await?;
            // What most clients send is read without a detour; whatever is wrong with the rest is
            // found below.
            if has_plain_keys(&body)
                && let Ok(message) = serde_json::from_slice(&body)
            {
                return Ok(Self(message));
            }
            message_of_body(&body)?
        };
        serde_json::from_value(message)
            .map(Rpc)
            .map_err(|error| ApiError::invalid(format!("Invalid request: {error}")))
    }
}

/// Whether the message is in the query.
fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The query as a message in the client's spelling; a repeated parameter is a list.
pub(crate) fn message_of_query(uri: &Uri) -> Result<Map<String, Value>, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| ApiError::new(ErrorCode::BadRequest, error.body_text()))?;
    let mut message = Map::new();
    for (key, value) in pairs {
        let value = Value::String(value);
        match message.get_mut(&key) {
            None => {
                message.insert(key, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(message)
}

/// The body of a message; empty only where it may be.
async fn bytes(request: Request) -> Result<Bytes, ApiError> {
    let is_get = is_read(&request);
    let json = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"));
    let needs_type = matches!(*request.method(), Method::POST | Method::PUT);
    // The gate bounds it.
    let body = to_bytes(request.into_body(), usize::MAX)
        .await
        .map_err(|_| ApiError::unreadable_body())?;
    if needs_type && !json {
        return Err(ApiError::invalid(
            "Bad Request. Content-Type must be one of ['application/json'].",
        ));
    }
    if body.is_empty() && (is_get || !needs_type) {
        return Ok(Bytes::from_static(b"{}"));
    }
    Ok(body)
}

/// Whether the body is an object whose keys, at any depth, need no translation.
fn has_plain_keys(body: &[u8]) -> bool {
    if body.first() != Some(&b'{') {
        return false;
    }
    let mut rest = body;
    while let Some(open) = rest.iter().position(|&byte| byte == b'"') {
        rest = &rest[open + 1..];
        let mut upper = false;
        let mut at = 0;
        loop {
            match rest.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 1,
                Some(byte) => upper |= byte.is_ascii_uppercase(),
                None => return false,
            }
            at += 1;
        }
        rest = &rest[at + 1..];
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        if upper && next == Some(&b':') {
            return false;
        }
    }
    true
}

/// A JSON body as a message, with the fields' names in snake_case.
pub(crate) fn message_of_body(body: &[u8]) -> Result<Value, ApiError> {
    let unreadable = |error: serde_json::Error| {
        ApiError::invalid(format!("Malformed JSON in the body: {error}"))
    };
    let mut message: Value = serde_json::from_slice(body).map_err(unreadable)?;
    // Some clients encode twice.
    if let Value::String(inner) = &message {
        message = serde_json::from_str(inner).map_err(unreadable)?;
    }
    match message {
        Value::Object(_) => snake_case(message),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => Err(ApiError::new(
            ErrorCode::BadRequest,
            "The body must be a JSON object.",
        )),
    }
}

/// `experimentId` means `experiment_id`; both at once mean nothing.
pub(super) fn snake_case(value: Value) -> Result<Value, ApiError> {
    Ok(match value {
        Value::Object(fields) => {
            let mut seen = HashSet::with_capacity(fields.len());
            let mut message = Map::new();
            for (key, value) in fields {
                let key = snake_case_key(&key);
                if !seen.insert(key.clone()) {
                    return Err(ApiError::invalid(format!("Field '{key}' is given twice.")));
                }
                let value = if is_free_form(&key, &value) {
                    value
                } else {
                    snake_case(value)?
                };
                message.insert(key, value);
            }
            Value::Object(message)
        }
        Value::Array(values) => Value::Array(
            values
                .into_iter()
                .map(snake_case)
                .collect::<Result<_, _>>()?,
        ),
        other => other,
    })
}

/// Whether the keys below are the sender's own and not names of fields: maps, and any JSON.
fn is_free_form(field: &str, value: &Value) -> bool {
    match field {
        "trace_metadata" | "tags" | "metadata" => value.is_object(),
        "value" => true,
        _ => false,
    }
}

/// A field's name as the messages have it.
pub(crate) fn snake_case_key(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_are_read_and_not_at_once() {
        assert_eq!(
            snake_case(json!({"experimentIds": ["1"], "tags": [{"runUuid": 1}]})).unwrap(),
            json!({"experiment_ids": ["1"], "tags": [{"run_uuid": 1}]})
        );
        assert!(snake_case(json!({"runId": "a", "run_id": "a"})).is_err());
        let free = json!({"trace_metadata": {"aB": "c"}, "tags": {"aB": ""}, "value": [{"aB": 1}]});
        assert_eq!(snake_case(free.clone()).unwrap(), free);
    }

    #[test]
    fn only_bodies_with_plain_keys_are_read_without_a_detour() {
        for plain in [
            r#"{"a_b": "Value: \"X\": 1", "c": [{"d": null}]}"#,
            r#"{"a":"B" , "c":1}"#,
            "{}",
        ] {
            assert!(has_plain_keys(plain.as_bytes()), "{plain}");
        }
        for other in [
            r#"{"runId": 1}"#,
            r#"{"a": [{"b" : {"cD"  : 1}}]}"#,
            r#""{\"a\": 1}""#,
            r#"{"a": "b"#,
            "[]",
            "",
            r#"{"a\"#,
        ] {
            assert!(!has_plain_keys(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn repeated_parameters_are_lists() {
        let uri: Uri = "/x?run_ids=a&run_ids=b&path=a%20b".parse().unwrap();
        assert_eq!(
            Value::from(message_of_query(&uri).unwrap()),
            json!({"run_ids": ["a", "b"], "path": "a b"})
        );
    }
}
