//! A caller of the scorer's API, and what it thinks of answers.

use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{LONG, Running};

/// A caller who may have a token.
pub(crate) struct Caller {
    pub(crate) runtime: Runtime,
    client: Client,
    url: String,
    token: Option<&'static str>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) model_version: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Caller {
    /// Of a scorer, as soon as it answers.
    pub(crate) fn of(running: &Running, token: Option<&'static str>) -> Caller {
        let began = Instant::now();
        let address = loop {
            let log = running.log();
            let told = log.lines().rfind(|line| line.contains("answering /v1"));
            if let Some((_, port)) = told.and_then(|line| line.rsplit_once("127.0.0.1:")) {
                let port: String = port.chars().take_while(char::is_ascii_digit).collect();
                break format!("127.0.0.1:{port}");
            }
            assert!(began.elapsed() < LONG, "it does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        };
        Caller {
            runtime: Runtime::new().unwrap(),
            client: Client::builder().no_proxy().build().unwrap(),
            url: format!("http://{address}"),
            token,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) fn send(&self, request: RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let response = request.timeout(LONG).send().await.unwrap();
            let header = |name: &str| {
                let value = response.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            Answer {
                status: response.status().as_u16(),
                retry_after: header("retry-after"),
                model_version: header("model-version"),
                text: response.text().await.unwrap(),
            }
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path))
    }

    /// The JSON of an answer that is well.
    pub(crate) fn read(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.post_as(path, "application/json", body)
    }

    pub(crate) fn post_as(&self, path: &str, media_type: &str, body: impl Into<String>) -> Answer {
        let request = self.request(Method::POST, path);
        self.send(request.header("content-type", media_type).body(body.into()))
    }

    /// Asks again and again until an answer is as it should be.
    pub(crate) fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(path).json();
            if is_so(&answer) {
                return answer;
            }
            assert!(began.elapsed() < LONG, "{path} stays so: {answer:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A stream of events from now on.
    pub(crate) fn listen(&self, path: &str) -> Events {
        let request = self.request(Method::GET, path);
        let response = self.runtime.block_on(request.send()).unwrap();
        assert_eq!(response.status(), 200);
        Events {
            response,
            buffer: String::new(),
        }
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

pub(crate) struct Events {
    response: Response,
    buffer: String,
}

impl Events {
    /// The next event; `None` once the stream ended.
    pub(crate) fn next(&mut self, caller: &Caller) -> Option<Event> {
        loop {
            if let Some((text, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = text.lines();
                    let found = lines.find_map(|line| line.strip_prefix(name));
                    found.unwrap_or_default().trim().to_owned()
                };
                let event = Event {
                    name: field("event:"),
                    id: field("id:"),
                    data: field("data:"),
                };
                self.buffer = rest.to_owned();
                if !event.name.is_empty() {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.response.chunk();
            let chunk = caller
                .runtime
                .block_on(async { tokio::time::timeout(LONG, chunk).await.unwrap() });
            let chunk = chunk.ok()??;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

/// What is wrong with a value, by a schema of this OpenAPI document.
pub(crate) fn violation(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    let wrong = |what: &str| Some(format!("{what}: {value} by {schema}"));
    let check = |schema: &Value, value: &Value| violation(document, schema, value);
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#')).unwrap();
        return check(found, value);
    }
    if let Some(any) = schema["anyOf"].as_array()
        && any.iter().all(|schema| check(schema, value).is_some())
    {
        return wrong("none of these");
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        return wrong("another word");
    }
    let is_of = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no type: {other}"),
    };
    if let Some(name) = schema["type"].as_str()
        && !is_of(name)
    {
        return wrong("another type");
    }
    if let Some(items) = value.as_array()
        && let Some(error) = items.iter().find_map(|item| check(&schema["items"], item))
    {
        return Some(error);
    }
    let fields = value.as_object()?;
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return wrong(&format!("{name} is missing"));
        }
    }
    fields.iter().find_map(|(name, value)| {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => wrong(&format!("`{name}` is not told of")),
            (Value::Null, Value::Null | Value::Bool(true)) => None,
            (Value::Null, other) => check(other, value),
            (schema, _) => check(schema, value),
        }
    })
}
