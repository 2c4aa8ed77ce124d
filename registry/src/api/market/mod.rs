//! `/foreshock/alerts`, `/foreshock/drift`, `/foreshock/candles`, `/foreshock/scores`: the history of
//! what was followed from Kafka, page by page or as one export.

mod export;
mod parameters;

use std::marker::PhantomData;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use mlflow_api::schema::{Named, Schema};
use serde_json::{Value, json};

use super::error::ApiError;
use super::extract::Rpc;
use crate::Registry;
use crate::store::{HistoryField, HistoryItem, HistoryKind};
use export::Format;
use parameters::{Asked, Fields, Parameters};

/// Rows of a page where nobody says how many, and at most.
const PAGE: i64 = 100;
const MAX_PAGE: i64 = 5_000;

macro_rules! requests {
    ($( $(#[$doc:meta])* $name:ident { $( $field:literal ),* $(,)? } )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name(Parameters);

        impl Schema for $name {
            fn schema(named: &mut Named) -> Value {
                named.message(stringify!($name), |named| {
                    let own = [$( $field ),*];
                    own.into_iter()
                        .chain(["from", "to", "order", "limit", "page_token", "format"])
                        .map(|field| (field, String::schema(named)))
                        .collect()
                })
            }
        }
    )*};
}

requests! {
    /// Which alerts.
    ListAlerts { "symbol", "severity", "model", "version", "incident_id", "label", "interval" }
    /// Which verdicts.
    ListDrift { "model", "version", "statistic", "feature", "symbol", "action" }
    /// Which candles.
    ListCandles { "symbol", "interval" }
    /// Which scores.
    ListScores { "symbol", "interval", "model", "version", "flagged", "label" }
}

/// An answer whose records are those of the topic; `T` describes it.
pub(super) struct Listed<T>(Response, PhantomData<T>);

impl<T> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        self.0
    }
}

macro_rules! pages {
    ($( $name:ident { $field:literal } )*) => {$(
        /// Describes a page.
        pub(super) struct $name;

        impl Schema for $name {
            fn schema(named: &mut Named) -> Value {
                named.message(stringify!($name), |_| vec![
                    ($field, json!({ "type": "array", "items": { "type": "object" } })),
                    ("next_page_token", json!({ "type": "string" })),
                ])
            }
        }
    )*};
}

pages! {
    AlertsPage { "alerts" }
    DriftPage { "verdicts" }
    CandlesPage { "candles" }
    ScoresPage { "scores" }
}

/// Describes one alert.
pub(super) struct AlertRecord;

impl Schema for AlertRecord {
    fn schema(_: &mut Named) -> Value {
        json!({ "type": "object" })
    }
}

pub(super) async fn alerts(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListAlerts>,
) -> Result<Listed<AlertsPage>, ApiError> {
    const FIELDS: Fields = &[
        ("symbol", HistoryField::Symbol),
        ("severity", HistoryField::Severity),
        ("model", HistoryField::Model),
        ("version", HistoryField::Version),
        ("incident_id", HistoryField::Incident),
        ("label", HistoryField::Label),
        ("interval", HistoryField::Interval),
    ];
    list(registry, request.0.read(HistoryKind::Alerts, FIELDS, &[])?).await
}

pub(super) async fn alert(
    State(registry): State<Registry>,
    Path(alert_id): Path<String>,
) -> Result<Listed<AlertRecord>, ApiError> {
    let record = registry.store().alert(&alert_id).await?;
    Ok(answer(record))
}

pub(super) async fn drift(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListDrift>,
) -> Result<Listed<DriftPage>, ApiError> {
    const FIELDS: Fields = &[
        ("model", HistoryField::Model),
        ("version", HistoryField::Version),
        ("statistic", HistoryField::Statistic),
        ("feature", HistoryField::Feature),
        ("symbol", HistoryField::Symbol),
        ("action", HistoryField::Action),
    ];
    list(registry, request.0.read(HistoryKind::Drift, FIELDS, &[])?).await
}

pub(super) async fn candles(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListCandles>,
) -> Result<Listed<CandlesPage>, ApiError> {
    const FIELDS: Fields = &[
        ("symbol", HistoryField::Symbol),
        ("interval", HistoryField::Interval),
    ];
    let asked = request
        .0
        .read(HistoryKind::Candles, FIELDS, &["symbol", "interval"])?;
    list(registry, asked).await
}

pub(super) async fn scores(
    State(registry): State<Registry>,
    Rpc(request): Rpc<ListScores>,
) -> Result<Listed<ScoresPage>, ApiError> {
    const FIELDS: Fields = &[
        ("symbol", HistoryField::Symbol),
        ("interval", HistoryField::Interval),
        ("model", HistoryField::Model),
        ("version", HistoryField::Version),
        ("label", HistoryField::Label),
    ];
    let asked = request.0.read(HistoryKind::Scores, FIELDS, &["symbol"])?;
    list(registry, asked).await
}

async fn list<T>(registry: Registry, asked: Asked) -> Result<Listed<T>, ApiError> {
    match asked.format {
        Format::Page => page(&registry, &asked).await,
        format => export::stream(registry, asked.search, asked.limit, format)
            .await
            .map(|response| Listed(response, PhantomData)),
    }
}

async fn page<T>(registry: &Registry, asked: &Asked) -> Result<Listed<T>, ApiError> {
    let size = asked.limit.unwrap_or(PAGE);
    // One more than fits: whether there is a next page shows in the same query.
    let mut items = registry
        .store()
        .search_history(&asked.search, size.saturating_add(1))
        .await?;
    let fits = usize::try_from(size).unwrap_or(usize::MAX);
    let more = items.len() > fits;
    items.truncate(fits);
    let name = match asked.search.kind {
        HistoryKind::Drift => "verdicts",
        kind => kind.as_str(),
    };
    let mut body = format!("{{\"{name}\":[");
    join(&mut body, &items);
    body.push(']');
    if let Some(last) = items.last().filter(|_| more) {
        let token = parameters::token(&last.cursor);
        body.push_str(&format!(",\"next_page_token\":\"{token}\""));
    }
    body.push('}');
    Ok(answer(body))
}

/// Records, which are JSON already, one after the other.
fn join(body: &mut String, items: &[HistoryItem]) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            body.push_str(",\n");
        }
        body.push_str(&item.json);
    }
}

fn answer<T>(json: String) -> Listed<T> {
    let response = ([(CONTENT_TYPE, "application/json")], json).into_response();
    Listed(response, PhantomData)
}
