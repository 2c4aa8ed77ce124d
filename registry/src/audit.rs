//! The audit log: who changed what, from where, and how it ended.
//!
//! Requests hand what happened to one writer, which adds it to the database many at a time, some
//! 50 ms later; what is left is written before a server that was told to stop ends. A server that
//! is killed may lose that much: the changes themselves are safe, and a transaction for each record
//! would cost as much as the change. When the database can't keep up, requests wait.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::api::{message_of_body, message_of_query, snake_case_key};
use crate::auth::Principal;
use crate::store::{AuditRecord, Store};
use crate::telemetry::{Telemetry, Template};

/// What the audit log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditLevel {
    /// Nothing.
    Off,
    /// Every change, but for what runs and traces log about themselves (metrics, parameters,
    /// inputs, spans), which carries its own times.
    Changes,
    /// Every change.
    All,
}

/// How many events may wait to be written.
const WAITING: usize = 4_096;
/// How many are written at once, and how long they are gathered.
const AT_ONCE: usize = 1_000;
const GATHER: Duration = Duration::from_millis(50);
/// How long a request waits for a place among those that wait.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 4;
const CLEANING: Duration = Duration::from_secs(3600);

/// Something that happened.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) time: i64,
    pub(crate) user: Option<Arc<Principal>>,
    pub(crate) client: IpAddr,
    pub(crate) request_id: HeaderValue,
    pub(crate) method: &'static str,
    pub(crate) route: Template,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) body: Bytes,
    /// Of a request that creates something: it tells the new id.
    pub(crate) answer: Bytes,
    pub(crate) status: u16,
}

/// Where requests say what they changed.
#[derive(Debug)]
pub(crate) struct Audit {
    events: mpsc::Sender<Event>,
    telemetry: Arc<Telemetry>,
}

impl Audit {
    /// Begins to write; the task ends when the [`Audit`] is dropped and all is written.
    pub(crate) fn start(
        store: Store,
        telemetry: Arc<Telemetry>,
        retention: Option<Duration>,
    ) -> (Self, JoinHandle<()>) {
        let (events, queue) = mpsc::channel(WAITING);
        let writer = tokio::spawn(write(store, Arc::clone(&telemetry), queue, retention));
        (Self { events, telemetry }, writer)
    }

    /// Hands an event to the writer.
    pub(crate) async fn note(&self, event: Event) {
        if self.events.send_timeout(event, PATIENCE).await.is_err() {
            tracing::error!("an event of the audit log is lost: too many wait to be written");
            self.telemetry.audit_lost(1);
        }
    }
}

async fn write(
    store: Store,
    telemetry: Arc<Telemetry>,
    mut queue: mpsc::Receiver<Event>,
    retention: Option<Duration>,
) {
    let mut events = Vec::new();
    let mut cleaning = tokio::time::interval(CLEANING);
    loop {
        tokio::select! {
            received = queue.recv_many(&mut events, AT_ONCE) => if received == 0 { return },
            _ = cleaning.tick() => {
                clean(&store, retention).await;
                continue;
            }
        }
        // Others come in the meantime; when no more can come, there is nothing to wait for.
        if !queue.is_closed() && events.len() < AT_ONCE {
            tokio::time::sleep(GATHER).await;
            while events.len() < AT_ONCE {
                match queue.try_recv() {
                    Ok(event) => events.push(event),
                    Err(_) => break,
                }
            }
        }
        let records: Vec<_> = events.drain(..).map(record).collect();
        if let Err(error) = add(&store, &records).await {
            tracing::error!(
                %error,
                events = records.len(),
                "events of the audit log are lost: the database failed"
            );
            telemetry.audit_lost(records.len() as u64);
        }
    }
}

async fn add(store: &Store, records: &[AuditRecord]) -> Result<(), crate::store::StoreError> {
    let mut pause = Duration::from_millis(100);
    for _ in 1..ATTEMPTS {
        if store.add_audit(records).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause *= 4;
    }
    store.add_audit(records).await
}

async fn clean(store: &Store, retention: Option<Duration>) {
    let Some(age) = retention else { return };
    match store.forget_audit(age).await {
        Ok(0) => {}
        Ok(records) => tracing::info!(records, "forgot old records of the audit log"),
        Err(error) => tracing::warn!(%error, "can't forget old records of the audit log"),
    }
}

fn record(event: Event) -> AuditRecord {
    AuditRecord {
        id: 0,
        time: event.time,
        resource: resource(&event),
        user_name: event.user.map(|user| user.name.clone()),
        client: Some(event.client.to_string()),
        request_id: event.request_id.to_str().ok().map(str::to_owned),
        action: format!("{} {}", event.method, event.route),
        outcome: event.status.to_string(),
    }
}

/// The fields that say what a request is about; never a value that was logged, nor a secret.
const FIELDS: [&str; 21] = [
    "experiment_id",
    "run_id",
    "run_uuid",
    "model_id",
    "name",
    "new_name",
    "version",
    "alias",
    "stage",
    "key",
    "trace_id",
    "request_id",
    "webhook_id",
    "dataset_id",
    "path",
    "username",
    "is_admin",
    "resource_type",
    "resource_id",
    "permission",
    "lifecycle_stage",
];
/// The fields of an answer that say what was created.
const CREATED: [&str; 5] = [
    "experiment_id",
    "run_id",
    "model_id",
    "version",
    "webhook_id",
];
const LONGEST: usize = 200;

fn resource(event: &Event) -> String {
    let mut text = String::new();
    if event.route.contains('{') {
        let path = event.target.split('?').next().unwrap_or_default();
        push(&mut text, "", path);
    }
    // Both as the handlers read them, or a change could hide what it is about.
    let query = event.target.parse().ok().map(|uri| message_of_query(&uri));
    if let Some(Ok(query)) = query {
        push_fields(&mut text, &query);
    }
    if let Ok(Value::Object(body)) = message_of_body(&event.body) {
        push_fields(&mut text, &body);
    }
    if !event.answer.is_empty()
        && let Ok(answer) = serde_json::from_slice(&event.answer)
    {
        let mut created = Vec::new();
        find_created(&answer, &mut created);
        for (name, value) in created {
            push_value(&mut text, name, value);
        }
    }
    text
}

fn push_fields(text: &mut String, message: &serde_json::Map<String, Value>) {
    for (name, value) in message {
        let name = snake_case_key(name);
        if FIELDS.contains(&name.as_str()) {
            push_value(text, &name, value);
        }
    }
}

/// The first of each name, wherever it stands.
fn find_created<'a>(value: &'a Value, found: &mut Vec<(&'static str, &'a Value)>) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let known = CREATED.iter().find(|created| *created == name);
        match known {
            Some(name) if !found.iter().any(|(other, _)| other == name) => {
                found.push((name, value));
            }
            _ => find_created(value, found),
        }
    }
}

fn push_value(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::String(value) => push(text, name, value),
        Value::Number(_) | Value::Bool(_) => push(text, name, &value.to_string()),
        _ => {}
    }
}

fn push(text: &mut String, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let mut value: String = value.chars().take(LONGEST).collect();
    // One value must not look like several, nor reach a terminal as it is.
    if value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
        value = format!("{value:?}");
    }
    let pair = format!("{name}={value}");
    let pair = pair.strip_prefix('=').unwrap_or(&pair);
    if text.split(' ').any(|known| known == pair) {
        return;
    }
    let space = if text.is_empty() { "" } else { " " };
    // Writing to a String can't fail.
    write!(text, "{space}{pair}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(route: &str, target: &str, body: &str, answer: &str) -> String {
        resource(&Event {
            time: 0,
            user: None,
            client: IpAddr::from([127, 0, 0, 1]),
            request_id: HeaderValue::from_static("x"),
            method: "POST",
            route: route.into(),
            target: target.to_owned(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            answer: Bytes::copy_from_slice(answer.as_bytes()),
            status: 200,
        })
    }

    #[test]
    fn a_resource_is_named_and_no_secret_is() {
        assert_eq!(
            of(
                "/x",
                "/x",
                r#"{"name": "m", "version": 3, "password": "secret"}"#,
                ""
            ),
            "name=m version=3"
        );
        assert_eq!(
            of(
                "/x",
                "/x",
                r#"{"experimentId": "7"}"#,
                r#"{"run": {"info": {"run_id": "r", "experiment_id": "7"}}}"#
            ),
            "experiment_id=7 run_id=r"
        );
        assert_eq!(of("/a/{*path}", "/a/1/f?token=s", "", ""), "/a/1/f");
        // However it is written.
        let twice = r#""{\"experimentId\": \"7\"}""#;
        assert_eq!(of("/x", "/x", twice, ""), "experiment_id=7");
        assert_eq!(of("/x", "/x?run%5Fid=a%2Fb", "", ""), "run_id=a/b");
        let forged = r#"{"name": "m user=\u001b[2J"}"#;
        assert_eq!(of("/x", "/x", forged, ""), r#"name="m user=\u{1b}[2J""#);
        let long = format!(r#"{{"name": "{}"}}"#, "é".repeat(10_000));
        assert_eq!(of("/x", "/x", &long, "").chars().count(), 205);
    }
}
