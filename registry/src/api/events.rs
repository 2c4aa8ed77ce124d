//! `/foreshock/events`: changes as they happen, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use mlflow_api::types::AliasChange;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

use mlflow_api::schema::{Named, Schema};
use serde_json::Value;

use super::aliases::Stopping;
use super::error::ApiError;
use super::extract::Rpc;
use crate::Registry;
use crate::events::Listener;
use crate::http::Gateway;

/// How often something is sent, so that both sides notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked whether users changed.
const CHECK: Duration = Duration::from_secs(1);
/// What is read of the history at once.
const CHUNK: i64 = 200;

/// Which changes are told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subscribe {
    /// Of one model only.
    model: Option<String>,
    /// Of aliases of this name only.
    alias: Option<String>,
    /// As the header `Last-Event-ID`, for those who can't set it.
    last_event_id: Option<String>,
}

impl Schema for Subscribe {
    fn schema(named: &mut Named) -> Value {
        named.message("Subscribe", |named| {
            ["model", "alias", "last_event_id"]
                .map(|field| (field, String::schema(named)))
                .into()
        })
    }
}

pub(super) async fn stream(
    State(registry): State<Registry>,
    stopping: Option<Extension<Stopping>>,
    Extension(gateway): Extension<Arc<Gateway>>,
    headers: HeaderMap,
    Rpc(request): Rpc<Subscribe>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let users = gateway.auth().version();
    let after = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?").to_owned())
        .or(request.last_event_id)
        .map(|text| {
            text.trim().parse::<i64>().map_err(|_| {
                ApiError::invalid("'Last-Event-ID' must be the id of an event of this server.")
            })
        })
        .transpose()?;
    // Listening comes first: what commits while the history is read is told twice, not never, and
    // its number says so.
    let live = registry.alias_events().listen().await?;
    let sent = match after {
        Some(after) => after,
        None => registry.store().alias_sequence().await?,
    };
    let feed = Feed {
        registry,
        gateway,
        users,
        check: tokio::time::interval(CHECK),
        live,
        stopping: stopping
            .map(|Extension(stopping)| stopping)
            .unwrap_or_default()
            .0,
        model: request.model.filter(|model| !model.is_empty()),
        alias: request.alias.filter(|alias| !alias.is_empty()),
        sent,
        replay: after.map(|_| Vec::new().into_iter()),
        ended: false,
    };
    let events = futures::stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// What one client is told.
struct Feed {
    registry: Registry,
    gateway: Arc<Gateway>,
    /// The state of users and grants when the client was let in.
    users: i64,
    check: Interval,
    live: Listener,
    stopping: CancellationToken,
    model: Option<String>,
    alias: Option<String>,
    /// The number of the last change that was told or passed over.
    sent: i64,
    /// The history that is still to be told; `None` when it is done.
    replay: Option<std::vec::IntoIter<AliasChange>>,
    ended: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        while let Some(replay) = &mut self.replay {
            if let Some(change) = replay.next() {
                self.sent = change.sequence;
                return self.event(&change);
            }
            let chunk = self
                .registry
                .store()
                .alias_changes_after(
                    self.sent,
                    self.model.as_deref(),
                    self.alias.as_deref(),
                    CHUNK,
                )
                .await;
            match chunk {
                Ok(chunk) if chunk.is_empty() => self.replay = None,
                Ok(chunk) => self.replay = Some(chunk.into_iter()),
                Err(error) => {
                    tracing::warn!(%error, "the history of aliases can't be read");
                    return Some(self.gap());
                }
            }
        }
        loop {
            let change = tokio::select! {
                change = self.live.recv() => Some(change),
                _ = self.check.tick() => None,
                () = self.stopping.cancelled() => return None,
            };
            // Who was let in may have lost the right: whoever has it comes back.
            if self.gateway.auth().version() != self.users {
                return Some(self.gap());
            }
            let Some(change) = change else { continue };
            match change {
                Ok(change) if change.sequence > self.sent => {
                    self.sent = change.sequence;
                    if self.wants(&change) {
                        return self.event(&change);
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(self.gap()),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, change: &Arc<AliasChange>) -> bool {
        self.model
            .as_ref()
            .is_none_or(|model| *model == change.name)
            && self
                .alias
                .as_ref()
                .is_none_or(|alias| *alias == change.alias)
    }

    fn event(&mut self, change: &AliasChange) -> Option<Event> {
        let data = serde_json::to_string(change)
            .inspect_err(|error| tracing::error!(%error, "an event can't be written"))
            .ok()?;
        Some(
            Event::default()
                .event("alias")
                .id(change.sequence.to_string())
                .data(data),
        )
    }

    /// Tells that changes are missing from here on, and ends: who comes back with the id of the
    /// last event that it got is told them.
    fn gap(&mut self) -> Event {
        self.ended = true;
        let data = serde_json::json!({ "after": self.sent });
        Event::default()
            .event("gap")
            .id(self.sent.to_string())
            .data(data.to_string())
    }
}
