//! `GET /v1/events`: what is committed, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::error::Refusal;
use super::feed::{Kind, Told, Want};
use super::parameters::Parameters;
use crate::telemetry::Telemetry;

/// How often something is sent, so that both sides notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one reader is told.
struct Reader {
    events: Receiver<Arc<Told>>,
    stopping: CancellationToken,
    symbol: Option<String>,
    kinds: Vec<Kind>,
    life: String,
    /// What the reader says it was told last.
    last: Last,
    /// What comes after word of what was missed.
    pending: Option<Arc<Told>>,
    telemetry: Arc<Telemetry>,
    _want: Want,
    _slot: OwnedSemaphorePermit,
}

/// Where a reader left off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// It begins, or was told what it missed.
    Now,
    /// With this event.
    Event(u64),
    /// In an earlier life of the scorer.
    Unknown,
}

pub(super) async fn handle(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Refusal> {
    let symbol = parameters.symbol();
    let mut kinds = Vec::new();
    match parameters.text("types") {
        None => kinds.extend(Kind::ALL),
        Some(types) => {
            for word in types.split(',').map(str::trim) {
                match Kind::ALL.into_iter().find(|kind| kind.as_str() == word) {
                    Some(kind) if kinds.contains(&kind) => {}
                    Some(kind) => kinds.push(kind),
                    None => {
                        let message = format!("`{word}` is no type; there are {}", Kind::words());
                        parameters.refuse("types", message);
                    }
                }
            }
        }
    }
    let given = parameters.text("last_event_id");
    parameters.finish()?;
    let header = headers.get("last-event-id");
    let header = header.map(|value| value.to_str().unwrap_or("?").to_owned());
    let Ok(slot) = Arc::clone(&api.streams).try_acquire_owned() else {
        return Err(Refusal::unavailable(
            "as many streams are read as `api.max_streams` allows",
        ));
    };
    let last = match header.or(given) {
        None => Last::Now,
        Some(id) => id
            .trim()
            .rsplit_once('-')
            .filter(|(life, _)| *life == api.life)
            .and_then(|(_, number)| number.parse().ok())
            .map_or(Last::Unknown, Last::Event),
    };
    api.telemetry.http.streams(1);
    let reader = Reader {
        events: api.events.subscribe(),
        stopping: api.stopping.clone(),
        symbol,
        _want: Want::new(&api.wants, kinds.clone()),
        kinds,
        life: api.life.clone(),
        last,
        pending: None,
        telemetry: Arc::clone(&api.telemetry),
        _slot: slot,
    };
    let events = futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<Event, Infallible>(event), reader))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.telemetry.http.streams(-1);
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        if self.last == Last::Unknown {
            self.last = Last::Now;
            // Nobody knows any more how many.
            return Some(missed(None));
        }
        if let Some(told) = self.pending.take().filter(|told| self.wants(told)) {
            return Some(self.event(&told));
        }
        loop {
            let told = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return None,
                told = self.events.recv() => told,
            };
            match told {
                Ok(told) => {
                    if let (Last::Event(last), Some(id)) = (self.last, told.id) {
                        self.last = Last::Now;
                        let between = id.saturating_sub(last + 1);
                        if between > 0 {
                            self.pending = Some(told);
                            self.telemetry.http.missed(between);
                            return Some(missed(Some(between)));
                        }
                    }
                    if self.wants(&told) {
                        return Some(self.event(&told));
                    }
                }
                Err(RecvError::Lagged(n)) => {
                    self.telemetry.http.missed(n);
                    return Some(missed(Some(n)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, told: &Told) -> bool {
        let is_of = |symbol: &String| **symbol == *told.symbol;
        let is_wanted = !told.kind.has_symbol() || self.symbol.as_ref().is_none_or(is_of);
        self.kinds.contains(&told.kind) && is_wanted
    }

    fn event(&self, told: &Told) -> Event {
        let event = Event::default().event(told.kind.as_str());
        let event = match told.id {
            Some(id) => event.id(format!("{}-{id}", self.life)),
            None => event,
        };
        event.data(&*told.data)
    }
}

/// Tells how many events were missed, of all types and symbols; `None` where nobody knows.
fn missed(n: Option<u64>) -> Event {
    Event::default()
        .event("missed")
        .data(json!({ "missed": n }).to_string())
}
