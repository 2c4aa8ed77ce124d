//! Writing rows and offsets.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use market::WireCandle;

use super::{AlertRow, DriftRow, HistoryKind, HistoryRows, MarketHistory, ScoreRow};
use crate::store::db::{Conn, Dialect, QueryBuilder, Tx, Value, query};
use crate::store::{Result, Store};

/// Rows of one statement. PostgreSQL's text is the same for any number of them; SQLite's has a place
/// for each value, is prepared anew for each number, and gains nothing from more.
const AT_ONCE: usize = 2_000;
const AT_ONCE_IN_SQLITE: usize = 100;

/// How far a partition of a topic was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Where it was said to go on, when reading began; absent where nobody had read it yet.
    pub found: Option<i64>,
    /// Where it goes on now.
    pub next: i64,
}

/// What became of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// They are durable.
    Done,
    /// Somebody else has gone on with one of the partitions: nothing was written.
    Overtaken,
}

impl Store {
    /// Where reading goes on, by topic and partition.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kafka_offsets(&self, cluster: &str) -> Result<HashMap<(String, i32), i64>> {
        let rows: Vec<(String, i64, i64)> = query(
            "SELECT topic, topic_partition, next_offset FROM kafka_offsets WHERE cluster = $1",
        )
        .bind(cluster)
        .fetch_all(&mut self.read().await?)
        .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(topic, partition, next)| {
                Some(((topic, i32::try_from(partition).ok()?), next))
            })
            .collect())
    }
}

impl MarketHistory {
    /// Writes rows and how far their partitions were read, all or nothing; `now` in µs since the
    /// epoch. A row whose id is there already takes its place; of two with one id the later stays.
    ///
    /// # Errors
    /// When the database fails, or refuses a text.
    pub async fn write(
        &self,
        cluster: &str,
        positions: &[Position],
        rows: HistoryRows,
        now: i64,
    ) -> Result<Written> {
        if self.store.pools.dialect() == Dialect::Postgres {
            let times = |kind| -> Vec<i64> {
                match kind {
                    HistoryKind::Alerts => rows.alerts.iter().map(|r| r.event_time).collect(),
                    HistoryKind::Drift => rows.drift.iter().map(|r| r.event_time).collect(),
                    HistoryKind::Candles => rows.candles.iter().map(|r| r.open_time).collect(),
                    HistoryKind::Scores => rows.scores.iter().map(|r| r.event_time).collect(),
                }
            };
            for kind in HistoryKind::ALL {
                self.ensure_partitions(kind, times(kind), now).await?;
            }
        }
        let mut tx = self.store.write().await?;
        let mut positions: Vec<&Position> = positions.iter().collect();
        positions.sort();
        for position in positions {
            if !advance(&mut tx, cluster, position).await? {
                return Ok(Written::Overtaken);
            }
        }
        let kept = |kind| Kept {
            window: self.retention.window(kind, now),
            now,
        };
        alerts(&mut tx, rows.alerts, &kept(HistoryKind::Alerts)).await?;
        drift(&mut tx, rows.drift, &kept(HistoryKind::Drift)).await?;
        candles(&mut tx, rows.candles, &kept(HistoryKind::Candles)).await?;
        scores(&mut tx, rows.scores, &kept(HistoryKind::Scores)).await?;
        tx.commit().await?;
        Ok(Written::Done)
    }
}

/// Moves a partition on, unless somebody else did.
async fn advance(tx: &mut Tx, cluster: &str, position: &Position) -> Result<bool> {
    let moved = match position.found {
        None => query(
            "INSERT INTO kafka_offsets (next_offset, cluster, topic, topic_partition) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        ),
        Some(_) => query(
            "UPDATE kafka_offsets SET next_offset = $1 \
             WHERE cluster = $2 AND topic = $3 AND topic_partition = $4 AND next_offset = $5",
        ),
    }
    .bind(position.next)
    .bind(cluster)
    .bind(&position.topic)
    .bind(i64::from(position.partition));
    let moved = match position.found {
        None => moved,
        Some(found) => moved.bind(found),
    };
    Ok(moved.execute(tx).await? == 1)
}

/// Says from when on a row is kept.
struct Kept {
    window: Range<i64>,
    now: i64,
}

impl Kept {
    fn since(&self, event_time: i64) -> i64 {
        if self.window.contains(&event_time) {
            event_time
        } else {
            self.now
        }
    }
}

/// Inserts rows in the order of their keys, so that two writers never wait for each other; of two
/// with one key the later stays.
async fn upsert<R, K: Ord, const N: usize>(
    conn: &mut Conn,
    rows: Vec<R>,
    insert: &'static str,
    conflict: &'static str,
    key: impl Fn(&R) -> K,
    values: impl Fn(R) -> [Value; N],
) -> Result<()> {
    let latest: BTreeMap<K, R> = rows.into_iter().map(|row| (key(&row), row)).collect();
    let mut rows = latest.into_values().peekable();
    let at_once = match conn.dialect() {
        Dialect::Sqlite => AT_ONCE_IN_SQLITE,
        Dialect::Postgres => AT_ONCE,
    };
    while rows.peek().is_some() {
        let mut statement = QueryBuilder::new(conn, insert);
        statement.push_rows(rows.by_ref().take(at_once).map(&values));
        statement.push(conflict);
        statement.build().execute(conn).await?;
    }
    Ok(())
}

async fn alerts(conn: &mut Conn, rows: Vec<AlertRow>, kept: &Kept) -> Result<()> {
    upsert(
        conn,
        rows,
        "INSERT INTO alerts AS kept (alert_id, event_time, symbol, period, severity, score, model, \
         version, incident_id, label, record, kept_since)",
        " ON CONFLICT (alert_id, event_time) DO UPDATE SET symbol = excluded.symbol, \
         period = excluded.period, severity = excluded.severity, score = excluded.score, \
         model = excluded.model, version = excluded.version, incident_id = excluded.incident_id, \
         label = excluded.label, record = excluded.record WHERE kept.record <> excluded.record",
        |row| (row.alert_id.clone(), row.event_time),
        |row| {
            [
                row.alert_id.into(),
                row.event_time.into(),
                row.symbol.into(),
                row.interval.into(),
                row.severity.into(),
                row.score.into(),
                row.model.into(),
                row.version.into(),
                row.incident_id.into(),
                row.label.into(),
                row.record.into(),
                kept.since(row.event_time).into(),
            ]
        },
    )
    .await
}

async fn drift(conn: &mut Conn, rows: Vec<DriftRow>, kept: &Kept) -> Result<()> {
    upsert(
        conn,
        rows,
        "INSERT INTO drift_verdicts AS kept (verdict_id, event_time, model, version, statistic, \
         feature, symbol, action, record, kept_since)",
        " ON CONFLICT (event_time, verdict_id) DO UPDATE SET model = excluded.model, \
         version = excluded.version, statistic = excluded.statistic, feature = excluded.feature, \
         symbol = excluded.symbol, action = excluded.action, record = excluded.record \
         WHERE kept.record <> excluded.record",
        |row| (row.event_time, row.verdict_id.clone()),
        |row| {
            [
                row.verdict_id.into(),
                row.event_time.into(),
                row.model.into(),
                row.version.into(),
                row.statistic.into(),
                row.feature.into(),
                row.symbol.into(),
                row.action.into(),
                row.record.into(),
                kept.since(row.event_time).into(),
            ]
        },
    )
    .await
}

async fn candles(conn: &mut Conn, rows: Vec<WireCandle>, kept: &Kept) -> Result<()> {
    upsert(
        conn,
        rows,
        "INSERT INTO candles (symbol, period, event_time, open, high, low, close, volume, \
         quote_volume, buy_volume, trade_count, kept_since)",
        " ON CONFLICT (symbol, period, event_time) DO UPDATE SET open = excluded.open, \
         high = excluded.high, low = excluded.low, close = excluded.close, \
         volume = excluded.volume, quote_volume = excluded.quote_volume, \
         buy_volume = excluded.buy_volume, trade_count = excluded.trade_count",
        |row| (row.symbol.clone(), row.interval.clone(), row.open_time),
        |row| {
            [
                row.symbol.into(),
                row.interval.into(),
                row.open_time.into(),
                row.open.into(),
                row.high.into(),
                row.low.into(),
                row.close.into(),
                row.volume.into(),
                row.quote_volume.into(),
                row.buy_volume.into(),
                row.trade_count
                    .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
                    .into(),
                kept.since(row.open_time).into(),
            ]
        },
    )
    .await
}

async fn scores(conn: &mut Conn, rows: Vec<ScoreRow>, kept: &Kept) -> Result<()> {
    upsert(
        conn,
        rows,
        "INSERT INTO scores AS kept (symbol, event_time, period, model, version, score, flagged, \
         label, record, kept_since)",
        " ON CONFLICT (symbol, event_time, period, model, version) DO UPDATE SET \
         score = excluded.score, flagged = excluded.flagged, label = excluded.label, \
         record = excluded.record WHERE kept.record <> excluded.record",
        |row| {
            let of = (row.model.clone(), row.version.clone());
            (row.symbol.clone(), row.event_time, row.interval.clone(), of)
        },
        |row| {
            [
                row.symbol.into(),
                row.event_time.into(),
                row.interval.into(),
                row.model.into(),
                row.version.into(),
                row.score.into(),
                row.flagged.map(i64::from).into(),
                row.label.into(),
                row.record.into(),
                kept.since(row.event_time).into(),
            ]
        },
    )
    .await
}
