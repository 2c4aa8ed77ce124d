//! What a request is about: the experiments and models that it names.
//!
//! A body is read as the handlers read it, and is then passed on as it was understood here, so
//! that a handler can't understand it otherwise.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderValue, Request, Uri};
use serde_json::{Map, Value};

use super::table::On;
use crate::api::{ApiError, message_of_body, message_of_query, snake_case_key};
use crate::artifacts::ArtifactPath;

/// What can be told of a request without asking the database.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// The parameters of the path, by the names that the route gives them.
    path: Vec<(String, String)>,
    query: Map<String, Value>,
    pub(super) body: Option<Value>,
}

impl Message {
    /// Reads a request and gives back one that says the same.
    pub(super) async fn read(
        request: Request<Body>,
        template: &str,
        with_body: bool,
    ) -> Result<(Self, Request<Body>), ApiError> {
        let (parts, body) = request.into_parts();
        let mut message = Self {
            path: parameters(template, parts.uri.path()),
            query: query(&parts.uri)?,
            body: None,
        };
        if !with_body {
            return Ok((message, Request::from_parts(parts, body)));
        }
        let bytes: Bytes = to_bytes(body, usize::MAX)
            .await
            .map_err(|_| ApiError::unreadable_body())?;
        if bytes.is_empty() {
            return Ok((message, Request::from_parts(parts, Body::empty())));
        }
        message.body = Some(message_of_body(&bytes)?);
        let mut request = Request::from_parts(parts, Body::empty());
        message.write_to(&mut request)?;
        Ok((message, request))
    }

    /// Replaces the body of a request by what was understood of it.
    pub(super) fn write_to(&self, request: &mut Request<Body>) -> Result<(), ApiError> {
        let Some(body) = &self.body else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(body).map_err(|_| ApiError::unreadable_body())?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        *request.body_mut() = Body::from(bytes);
        Ok(())
    }

    /// Every value that one of `names` has, wherever it stands.
    pub(super) fn values(&self, names: &[&str]) -> Vec<String> {
        let mut values = Vec::new();
        for (name, value) in &self.path {
            if names.contains(&name.as_str()) {
                values.push(value.clone());
            }
        }
        for (name, value) in &self.query {
            if names.contains(&name.as_str()) {
                push_scalars(value, &mut values);
            }
        }
        if let Some(body) = &self.body {
            push_deep(body, names, &mut values);
        }
        values.retain(|value| !value.is_empty());
        values
    }

    /// Every value that `name` has at the top.
    pub(super) fn top(&self, name: &str) -> Vec<String> {
        let mut values = Vec::new();
        for (key, value) in &self.path {
            if key == name {
                values.push(value.clone());
            }
        }
        for message in [
            Some(&self.query),
            self.body.as_ref().and_then(Value::as_object),
        ] {
            if let Some(value) = message.and_then(|message| message.get(name)) {
                push_scalars(value, &mut values);
            }
        }
        values.retain(|value| !value.is_empty());
        values
    }

    /// The folders that lead to the artifact that the request names, outermost first. A multipart
    /// upload names a folder in the path and a file in the body.
    pub(super) fn artifact(&self) -> Vec<String> {
        let mut names = Vec::new();
        for path in self.top("path") {
            // What is no path is refused by the handler.
            if let Ok(path) = ArtifactPath::parse(&path) {
                names.extend_from_slice(path.names());
            }
        }
        names
    }

    /// Keeps of the list `field` in the body what `keep` wants.
    pub(super) fn retain(&mut self, field: &str, keep: impl Fn(&str) -> bool) {
        let Some(Value::Array(ids)) = self
            .body
            .as_mut()
            .and_then(Value::as_object_mut)
            .and_then(|body| body.get_mut(field))
        else {
            return;
        };
        ids.retain(|id| scalar(id).is_some_and(|id| keep(&id)));
    }
}

/// Which needs can only be told from the body.
pub(super) fn reads_body(on: On) -> bool {
    !matches!(on, On::Server | On::ExperimentInHeader(_))
}

fn query(uri: &Uri) -> Result<Map<String, Value>, ApiError> {
    // Both spellings of one field are one.
    let mut fields = Map::new();
    for (key, value) in message_of_query(uri)? {
        let key = snake_case_key(&key);
        match fields.get_mut(&key) {
            None => {
                fields.insert(key, value);
            }
            Some(Value::Array(values)) => match value {
                Value::Array(more) => values.extend(more),
                one => values.push(one),
            },
            Some(first) => {
                let mut values = vec![first.take()];
                match value {
                    Value::Array(more) => values.extend(more),
                    one => values.push(one),
                }
                *first = Value::Array(values);
            }
        }
    }
    Ok(fields)
}

/// The parameters of a path, decoded once, as the router decodes them.
fn parameters(template: &str, path: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode(text).unwrap_or_else(|| text.to_owned());
    let mut found = Vec::new();
    let mut rest = path;
    for part in template.split('/') {
        let (segment, after) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(name) = part.strip_prefix("{*").and_then(|p| p.strip_suffix('}')) {
            found.push((name.to_owned(), decode(rest)));
            break;
        }
        if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            found.push((name.to_owned(), decode(segment)));
        }
        rest = after;
    }
    found
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match rest {
            [high, low, after @ ..] if byte == b'%' => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push(u8::try_from(high * 16 + low).ok()?);
                    rest = after;
                }
                _ => bytes.push(byte),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn push_scalars(value: &Value, values: &mut Vec<String>) {
    match value {
        Value::Array(items) => values.extend(items.iter().filter_map(scalar)),
        other => values.extend(scalar(other)),
    }
}

fn push_deep(value: &Value, names: &[&str], values: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if names.contains(&name.as_str()) {
                    push_scalars(value, values);
                }
                push_deep(value, names, values);
            }
        }
        Value::Array(items) => {
            for item in items {
                push_deep(item, names, values);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn message(uri: &str, template: &str, body: Value) -> (Message, Value) {
        let request = Request::builder()
            .method("POST")
            .uri(uri)
            .body(Body::from(body.to_string()))
            .unwrap();
        let (message, request) = Message::read(request, template, true).await.unwrap();
        let bytes = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        (message, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn things_are_found_wherever_they_stand() {
        let (message, passed_on) = message(
            "/api/3.0/mlflow/traces/tr%2D1/x?runId=q1&run_id=q2&run_id=q3",
            "/api/3.0/mlflow/traces/{trace_id}/x",
            json!({"runUuid": "b", "deep": [{"runId": 7}], "name": "m", "in": {"name": "n"}}),
        )
        .await;
        assert_eq!(message.values(&["trace_id"]), ["tr-1"]);
        let mut runs = message.values(&["run_id", "run_uuid"]);
        runs.sort();
        assert_eq!(runs, ["7", "b", "q1", "q2", "q3"]);
        assert_eq!(message.top("name"), ["m"]);
        assert_eq!(passed_on["run_uuid"], "b");
    }

    #[tokio::test]
    async fn a_body_is_passed_on_as_it_was_understood() {
        // A field twice: handlers must see the one that was looked at.
        let twice = r#"{"run_id": "a", "run_id": "b"}"#;
        let (message, passed_on) = message("/x", "/x", Value::String(twice.to_owned())).await;
        assert_eq!(message.values(&["run_id"]), ["b"]);
        assert_eq!(passed_on, json!({"run_id": "b"}));
    }

    #[test]
    fn artifact_paths_are_taken_apart() {
        let path = "/api/2.0/mlflow-artifacts/artifacts/12/run%20a/artifacts/f%252e";
        let template = "/api/2.0/mlflow-artifacts/artifacts/{*path}";
        assert_eq!(
            parameters(template, path),
            [("path".to_owned(), "12/run a/artifacts/f%2e".to_owned())]
        );
    }
}
