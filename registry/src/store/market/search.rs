//! Searches in the history. A page begins after the last row of the one before, so what is written
//! meanwhile moves nothing from page to page.

use market::WireCandle;

use super::HistoryKind;
use crate::store::db::QueryBuilder;
use crate::store::{Result, Store, StoreError};

/// What a search may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryField {
    /// The symbol.
    Symbol,
    /// The candle's length.
    Interval,
    /// An alert's severity.
    Severity,
    /// The model's name.
    Model,
    /// The model's version.
    Version,
    /// The incident that an alert belongs to.
    Incident,
    /// The kind of the labelled event.
    Label,
    /// What a verdict measures.
    Statistic,
    /// The feature that a verdict measures.
    Feature,
    /// What a verdict asks for.
    Action,
}

impl HistoryField {
    fn column(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Interval => "period",
            Self::Severity => "severity",
            Self::Model => "model",
            Self::Version => "version",
            Self::Incident => "incident_id",
            Self::Label => "label",
            Self::Statistic => "statistic",
            Self::Feature => "feature",
            Self::Action => "action",
        }
    }
}

/// Which rows are asked for. Candles are searched by symbol and interval, scores by symbol: their
/// order is one only within these.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySearch {
    /// Of what.
    pub kind: HistoryKind,
    /// Texts that fields must have.
    pub equals: Vec<(HistoryField, String)>,
    /// Scores that are beyond their threshold, or those that are not.
    pub flagged: Option<bool>,
    /// Not before, µs since the epoch.
    pub from: Option<i64>,
    /// Before, µs since the epoch.
    pub until: Option<i64>,
    /// The oldest first; otherwise the newest.
    pub ascending: bool,
    /// After the row of that place.
    pub after: Option<Cursor>,
}

/// The place of a row in the order of its kind: its time, and what tells it from others of that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Its event time, µs since the epoch.
    pub time: i64,
    /// The values of the other columns that it is ordered by.
    pub rest: Vec<String>,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryItem {
    /// Where it stands.
    pub cursor: Cursor,
    /// A JSON object.
    pub json: String,
}

/// What tells rows of one time apart, where the fields that must be given don't.
fn order(kind: HistoryKind) -> &'static [&'static str] {
    match kind {
        HistoryKind::Alerts => &["alert_id"],
        HistoryKind::Drift => &["verdict_id"],
        HistoryKind::Candles => &[],
        HistoryKind::Scores => &["period", "model", "version"],
    }
}

#[derive(sqlx::FromRow)]
struct Candle {
    symbol: String,
    period: String,
    event_time: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    quote_volume: Option<f64>,
    buy_volume: Option<f64>,
    trade_count: Option<i64>,
}

impl From<Candle> for WireCandle {
    fn from(row: Candle) -> Self {
        Self {
            symbol: row.symbol,
            interval: row.period,
            open_time: row.event_time,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: row.quote_volume,
            buy_volume: row.buy_volume,
            trade_count: row.trade_count.map(i64::unsigned_abs),
        }
    }
}

impl Store {
    /// The first rows of a search, at most `limit`.
    ///
    /// # Errors
    /// When the database fails, or the cursor is none of such a search.
    pub async fn search_history(
        &self,
        search: &HistorySearch,
        limit: i64,
    ) -> Result<Vec<HistoryItem>> {
        // Pages go by indexes, whatever the statistics of a partition pretend that was empty a
        // moment ago.
        let mut conn = self.pools.lookup().await?;
        let order = order(search.kind);
        let columns = match search.kind {
            HistoryKind::Candles => {
                "symbol, period, event_time, open, high, low, close, volume, quote_volume, \
                 buy_volume, trade_count"
                    .to_owned()
            }
            _ => {
                let named = |i| order.get(i).copied().unwrap_or("''");
                format!(
                    "event_time, {}, {}, {}, record",
                    named(0),
                    named(1),
                    named(2)
                )
            }
        };
        let table = search.kind.table();
        let mut find =
            QueryBuilder::new(&conn, format!("SELECT {columns} FROM {table} WHERE 1 = 1"));
        for (field, text) in &search.equals {
            find.push(format_args!(" AND {} = ", field.column()))
                .push_bind(text);
        }
        if let Some(flagged) = search.flagged {
            find.push(" AND flagged = ").push_bind(i64::from(flagged));
        }
        if let Some(from) = search.from {
            find.push(" AND event_time >= ").push_bind(from);
        }
        if let Some(until) = search.until {
            find.push(" AND event_time < ").push_bind(until);
        }
        let keys = || ["event_time"].into_iter().chain(order.iter().copied());
        if let Some(after) = &search.after {
            if after.rest.len() != order.len() {
                return Err(StoreError::Invalid("Invalid page token".to_owned()));
            }
            let compare = if search.ascending { ">" } else { "<" };
            let keys = keys().collect::<Vec<_>>().join(", ");
            find.push(format_args!(" AND ({keys}) {compare} ("))
                .push_bind(after.time);
            for text in &after.rest {
                find.push(", ").push_bind(text);
            }
            find.push(")");
        }
        let direction = if search.ascending { "" } else { " DESC" };
        let keys: Vec<String> = keys().map(|key| format!("{key}{direction}")).collect();
        find.push(format_args!(" ORDER BY {} LIMIT ", keys.join(", ")))
            .push_bind(limit);
        let find = find.build();
        if search.kind == HistoryKind::Candles {
            let rows: Vec<Candle> = find.fetch_all(&mut conn).await?;
            return rows.into_iter().map(candle).collect();
        }
        let rows: Vec<(i64, String, String, String, String)> = find.fetch_all(&mut conn).await?;
        let item = |(time, a, b, c, json)| {
            let mut rest = vec![a, b, c];
            rest.truncate(order.len());
            HistoryItem {
                cursor: Cursor { time, rest },
                json,
            }
        };
        Ok(rows.into_iter().map(item).collect())
    }

    /// An alert as it was published, a JSON object.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn alert(&self, alert_id: &str) -> Result<String> {
        let mut conn = self.pools.lookup().await?;
        let mut find = QueryBuilder::new(&conn, "SELECT record FROM alerts WHERE alert_id = ");
        find.push_bind(alert_id)
            .push(" ORDER BY event_time DESC LIMIT 1");
        let found: Option<(String,)> = find.build().fetch_optional(&mut conn).await?;
        found
            .map(|(record,)| record)
            .ok_or_else(|| StoreError::NotFound(format!("Alert with id={alert_id} not found")))
    }
}

fn candle(row: Candle) -> Result<HistoryItem> {
    let time = row.event_time;
    let json = serde_json::to_string(&WireCandle::from(row))
        .map_err(|error| StoreError::State(format!("a candle can't be shown: {error}")))?;
    Ok(HistoryItem {
        cursor: Cursor {
            time,
            rest: Vec::new(),
        },
        json,
    })
}
