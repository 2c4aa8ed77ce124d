//! A whole search as one file: read page by page while it is sent, so that neither its length nor a
//! slow client takes memory, or a connection to the database.

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde_json::Value;

use super::join;
use crate::Registry;
use crate::api::error::ApiError;
use crate::store::{HistoryItem, HistoryKind, HistorySearch};

/// Rows that are read at once.
const CHUNK: i64 = 1_000;

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A page: an object with a list and the token of the next page.
    Page,
    /// Everything, as a list.
    Json,
    /// Everything, as a table.
    Csv,
}

/// A column: its name, and where its value is in the record.
type Column = (&'static str, &'static [&'static str]);

const ALERTS: &[Column] = &[
    ("alert_id", &["alert_id"]),
    ("incident_id", &["incident_id"]),
    ("sequence", &["sequence"]),
    ("symbol", &["symbol"]),
    ("event_time", &["event_time"]),
    ("interval", &["interval"]),
    ("early", &["early"]),
    ("score", &["score"]),
    ("raw_score", &["raw_score"]),
    ("threshold", &["threshold"]),
    ("severity", &["severity"]),
    ("severity_score", &["severity_score"]),
    ("model", &["model", "name"]),
    ("version", &["model", "version"]),
    ("run_id", &["model", "run_id"]),
    ("label", &["label"]),
    ("votes", &["votes"]),
    ("contributions", &["contributions"]),
];

const DRIFT: &[Column] = &[
    ("id", &["id"]),
    ("event_time", &["event_time"]),
    ("model", &["model"]),
    ("version", &["version"]),
    ("symbol", &["symbol"]),
    ("statistic", &["statistic"]),
    ("feature", &["feature"]),
    ("value", &["value"]),
    ("limit", &["limit"]),
    ("window", &["window"]),
    ("rule", &["rule"]),
    ("since", &["since"]),
    ("until", &["until"]),
    ("direction", &["direction"]),
    ("shift", &["shift"]),
    ("action", &["action"]),
];

const CANDLES: &[Column] = &[
    ("symbol", &["symbol"]),
    ("interval", &["interval"]),
    ("open_time", &["open_time"]),
    ("open", &["open"]),
    ("high", &["high"]),
    ("low", &["low"]),
    ("close", &["close"]),
    ("volume", &["volume"]),
    ("quote_volume", &["quote_volume"]),
    ("buy_volume", &["buy_volume"]),
    ("trade_count", &["trade_count"]),
];

const SCORES: &[Column] = &[
    ("symbol", &["symbol"]),
    ("interval", &["interval"]),
    ("open_time", &["open_time"]),
    ("filled", &["filled"]),
    ("close", &["close"]),
    ("volume", &["volume"]),
    ("score", &["score"]),
    ("raw_score", &["raw_score"]),
    ("threshold", &["threshold"]),
    ("flagged", &["flagged"]),
    ("model", &["model", "name"]),
    ("version", &["model", "version"]),
    ("run_id", &["model", "run_id"]),
    ("label", &["label"]),
    ("error", &["error"]),
    ("votes", &["votes"]),
    ("features", &["features"]),
];

fn columns(kind: HistoryKind) -> &'static [Column] {
    match kind {
        HistoryKind::Alerts => ALERTS,
        HistoryKind::Drift => DRIFT,
        HistoryKind::Candles => CANDLES,
        HistoryKind::Scores => SCORES,
    }
}

/// What is still to be sent.
struct Export {
    registry: Registry,
    search: HistorySearch,
    left: i64,
    format: Format,
    /// The first rows, read before the answer began: what is wrong with the search has a status.
    first: Option<Vec<HistoryItem>>,
    began: bool,
    ended: bool,
}

pub(super) async fn stream(
    registry: Registry,
    search: HistorySearch,
    limit: Option<i64>,
    format: Format,
) -> Result<Response, ApiError> {
    let (media_type, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Json | Format::Page => ("application/json", "json"),
    };
    let disposition = format!("attachment; filename=\"{}.{name}\"", search.kind.as_str());
    let mut export = Export {
        registry,
        search,
        left: limit.unwrap_or(i64::MAX),
        format,
        first: None,
        began: false,
        ended: false,
    };
    export.first = Some(export.read().await?);
    let chunks = stream::try_unfold(export, |mut export| async move {
        let chunk = export.next().await.inspect_err(|error| {
            tracing::warn!(error = error.message(), "an export broke off");
        });
        // Without its end the file can't be taken for whole.
        let chunk = chunk.map_err(|error| std::io::Error::other(error.message().to_owned()))?;
        Ok::<_, std::io::Error>(chunk.map(|chunk| (chunk, export)))
    });
    let headers = [
        (CONTENT_TYPE, media_type.to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

impl Export {
    /// The next rows.
    async fn read(&mut self) -> Result<Vec<HistoryItem>, ApiError> {
        let size = self.left.min(CHUNK);
        let items = self
            .registry
            .store()
            .search_history(&self.search, size)
            .await?;
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        self.left = self.left.saturating_sub(count);
        if let Some(last) = items.last() {
            self.search.after = Some(last.cursor.clone());
        }
        self.ended = count < size || self.left == 0;
        Ok(items)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let items = match self.first.take() {
            Some(items) => items,
            None if self.ended => return Ok(None),
            None => self.read().await?,
        };
        let is_first = !std::mem::replace(&mut self.began, true);
        let text = match self.format {
            Format::Csv => table(columns(self.search.kind), &items, is_first)?,
            Format::Json | Format::Page => {
                let mut text = String::from(match (is_first, items.is_empty()) {
                    (true, _) => "[",
                    (false, false) => ",\n",
                    (false, true) => "",
                });
                join(&mut text, &items);
                if self.ended {
                    text.push_str("]\n");
                }
                text.into_bytes()
            }
        };
        Ok(Some(text.into()))
    }
}

/// Rows as CSV.
fn table(columns: &[Column], items: &[HistoryItem], head: bool) -> Result<Vec<u8>, ApiError> {
    let failed = |error: csv::Error| ApiError::internal("An export can't be written.", error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    if head {
        let names = columns.iter().map(|(name, _)| name);
        writer.write_record(names).map_err(failed)?;
    }
    for item in items {
        let record: Value = serde_json::from_str(&item.json)
            .map_err(|error| ApiError::internal("A record can't be read.", error))?;
        for (_, path) in columns {
            writer.write_field(cell(&record, path)).map_err(failed)?;
        }
        writer.write_record(None::<&[u8]>).map_err(failed)?;
    }
    writer
        .into_inner()
        .map_err(|error| ApiError::internal("An export can't be written.", error.to_string()))
}

/// A value as text: lists and objects as JSON, nothing as nothing.
fn cell(record: &Value, path: &[&str]) -> String {
    let found = path.iter().try_fold(record, |value, key| value.get(key));
    match found {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cursor;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let item = HistoryItem {
            cursor: Cursor {
                time: 0,
                rest: Vec::new(),
            },
            json: r#"{"symbol":"a,\"b\"","open_time":5,"open":0.1,"x":1,"features":{"f":[1]}}"#
                .to_owned(),
        };
        let columns: &[Column] = &[
            ("symbol", &["symbol"]),
            ("open", &["open"]),
            ("label", &["label"]),
            ("features", &["features"]),
        ];
        let text = table(columns, &[item], true).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "symbol,open,label,features\n\"a,\"\"b\"\"\",0.1,,\"{\"\"f\"\":[1]}\"\n"
        );
    }
}
