//! From the log to the histories and the latest points.
//!
//! One folder works at a time, over all replicas. It takes entries out of the log, appends their
//! points to the chunks of their metrics and moves the latest points on, in one transaction: a
//! reader sees a point in the log or in a chunk, never in both or in neither.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::points::{Point, push_segment, read_entry};
use crate::store::db::{Dialect, QueryBuilder, Tx, query};
use crate::store::tags::CHUNK;
use crate::store::{Result, Store, db::Pools};

/// Entries of one transaction, and their bytes: what is folded at once is held in memory.
const ENTRIES: i64 = 1000;
const BYTES: i64 = 4 << 20;
/// Points of a chunk before the next one is begun.
const CHUNK_POINTS: i64 = 256;
/// How long entries gather: many requests about one metric are then one change of its chunk.
const GATHER: Duration = Duration::from_millis(300);
/// Folded entries whose room is given back at once.
const SWEEP: usize = 10_000;
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// The lock that the folder of a PostgreSQL database holds: a number as good as any.
const LOCK: i64 = 0x466f_6c64_4d65_7472;

/// Tells the folder of this process that there is something to fold.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Folder(Arc<State>);

#[derive(Debug, Default)]
struct State {
    notify: Notify,
    /// Entries that were folded since the log was swept.
    folded: AtomicUsize,
}

impl Folder {
    /// Starts the task; it ends when `pools` are closed or nobody holds the folder any more.
    pub(in crate::store) fn start(pools: Pools) -> Self {
        let folder = Self::default();
        // What an earlier process left.
        folder.nudge();
        tokio::spawn(work(pools, Arc::downgrade(&folder.0)));
        folder
    }

    /// There is something to fold.
    pub(in crate::store) fn nudge(&self) {
        self.0.notify.notify_one();
    }
}

async fn work(pools: Pools, state: Weak<State>) {
    loop {
        // A store that is dropped without being closed must not be kept by its folder.
        let Some(state) = state.upgrade() else {
            return;
        };
        let woken = tokio::time::timeout(PAUSE, state.notify.notified()).await;
        if is_closed(&pools) {
            return;
        }
        if woken.is_err() {
            continue;
        }
        tokio::time::sleep(GATHER).await;
        while let Err(error) = fold_all(&pools, &state.folded).await {
            if is_closed(&pools) {
                return;
            }
            tracing::warn!(error = ?error, "metrics can't be folded; trying again");
            tokio::time::sleep(PAUSE).await;
        }
        sweep(&pools, &state.folded).await;
    }
}

fn is_closed(pools: &Pools) -> bool {
    match pools {
        Pools::Sqlite { writes, .. } => writes.is_closed(),
        Pools::Postgres(pool) => pool.is_closed(),
    }
}

impl Store {
    /// Waits until all that was logged before is folded, so that SQL sees it.
    pub(in crate::store) async fn settle_metrics(&self) -> Result<()> {
        let pending: Option<(i64,)> = query("SELECT entry FROM metric_log LIMIT 1")
            .fetch_optional(&mut self.read().await?)
            .await?;
        if pending.is_some() {
            fold_all(&self.pools, &self.folder.0.folded).await?;
        }
        Ok(())
    }
}

/// Folds all entries, and counts them.
async fn fold_all(pools: &Pools, count: &AtomicUsize) -> Result<()> {
    loop {
        let (folded, more) = fold_some(pools).await?;
        count.fetch_add(folded, Ordering::Relaxed);
        if !more {
            return Ok(());
        }
    }
}

/// Gives back the room of folded entries once there are many. PostgreSQL would look after it every
/// minute; until then whoever asks whether the log is empty reads all that was in it.
async fn sweep(pools: &Pools, count: &AtomicUsize) {
    if pools.dialect() == Dialect::Sqlite || count.load(Ordering::Relaxed) < SWEEP {
        return;
    }
    count.store(0, Ordering::Relaxed);
    let swept = async {
        query("VACUUM (SKIP_LOCKED) metric_log")
            .execute(&mut pools.autocommit().await?)
            .await
    };
    if let Err(error) = swept.await {
        tracing::debug!(error = ?error, "the log of metrics can't be vacuumed");
    }
}

/// Keeps everybody else from folding until the transaction ends. In SQLite there is only one writer
/// anyway.
pub(in crate::store) async fn hold_folding(tx: &mut Tx) -> Result<()> {
    if tx.dialect() == Dialect::Postgres {
        query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .execute(tx)
            .await?;
    }
    Ok(())
}

/// Folds some entries; how many, and whether there may be more.
async fn fold_some(pools: &Pools) -> Result<(usize, bool)> {
    let mut tx = pools.write().await?;
    hold_folding(&mut tx).await?;
    let take = tx.pick(
        "DELETE FROM metric_log WHERE (run_id, entry) IN (SELECT run_id, entry FROM \
         (SELECT run_id, entry, SUM(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS earlier FROM \
         (SELECT run_id, entry, LENGTH(points) AS size FROM metric_log LIMIT $1) s) b \
         WHERE earlier < $2) RETURNING run_id, points",
        // By their places: what PostgreSQL knows of this table's size is never true.
        "DELETE FROM metric_log WHERE ctid = ANY(ARRAY(SELECT place FROM \
         (SELECT place, SUM(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS earlier FROM \
         (SELECT ctid AS place, LENGTH(points) AS size FROM metric_log LIMIT $1) s) b \
         WHERE earlier < $2)) RETURNING run_id, points",
    );
    let entries: Vec<(String, Vec<u8>)> = take.bind(ENTRIES).bind(BYTES).fetch_all(&mut tx).await?;
    let bytes: usize = entries.iter().map(|(_, points)| points.len()).sum();
    let is_full = |count: usize, most: i64| i64::try_from(count).is_ok_and(|count| count >= most);
    let more = is_full(entries.len(), ENTRIES) || is_full(bytes, BYTES);
    let metrics = gather(&mut tx, &entries).await?;
    append(&mut tx, metrics).await?;
    tx.commit().await?;
    Ok((entries.len(), more))
}

/// A metric of a run, and what is known of it: the run's experiment, and points.
type Gathered<'e> = BTreeMap<(&'e str, String), (i64, Vec<Point>)>;
type Group<'e> = [((&'e str, String), (i64, Vec<Point>))];

/// The points of entries whose runs are still there.
async fn gather<'e>(tx: &mut Tx, entries: &'e [(String, Vec<u8>)]) -> Result<Gathered<'e>> {
    let mut run_ids: Vec<&String> = entries.iter().map(|(run_id, _)| run_id).collect();
    run_ids.sort_unstable();
    run_ids.dedup();
    let mut present: Vec<(String, i64)> = Vec::with_capacity(run_ids.len());
    for chunk in run_ids.chunks(CHUNK) {
        let mut query =
            QueryBuilder::new(tx, "SELECT run_id, experiment_id FROM runs WHERE run_id");
        query.push_in(chunk.iter().copied());
        if tx.dialect() == Dialect::Postgres {
            // Not purged before the end of this transaction.
            query.push(" ORDER BY run_id FOR KEY SHARE");
        }
        present.extend(query.build().fetch_all::<(String, i64)>(tx).await?);
    }
    present.sort_unstable();
    let mut gathered = Gathered::new();
    for (run_id, bytes) in entries {
        let Ok(at) = present.binary_search_by(|(id, _)| id.cmp(run_id)) else {
            continue;
        };
        let experiment = present[at].1;
        read_entry(
            bytes,
            |_| true,
            |key, points| {
                gathered
                    .entry((run_id, key.to_owned()))
                    .or_insert_with(|| (experiment, Vec::new()))
                    .1
                    .extend_from_slice(points);
            },
        )
        .map_err(sqlx::Error::from)?;
    }
    Ok(gathered)
}

/// Moves the latest points on and appends to the chunks.
async fn append(tx: &mut Tx, metrics: Gathered<'_>) -> Result<()> {
    let metrics: Vec<_> = metrics.into_iter().collect();
    for group in metrics.chunks(CHUNK) {
        let totals = move_latest(tx, group).await?;
        let mut chunks =
            QueryBuilder::new(tx, "INSERT INTO metric_chunks (run_id, key, chunk, points)");
        chunks.push_rows(group.iter().map(|((run_id, key), (_, points))| {
            let total = totals
                .get(&(*run_id, key.as_str()))
                .copied()
                .unwrap_or_default();
            let before = total - i64::try_from(points.len()).unwrap_or_default();
            let mut bytes = Vec::new();
            push_segment(&mut bytes, points.iter().copied());
            [
                (*run_id).into(),
                key.into(),
                (before / CHUNK_POINTS).into(),
                bytes.into(),
            ]
        }));
        chunks.push(match chunks.dialect() {
            // Joined blobs are a text in SQLite, of the same bytes.
            Dialect::Sqlite => {
                " ON CONFLICT (run_id, key, chunk) DO UPDATE SET \
                 points = CAST(metric_chunks.points || excluded.points AS BLOB)"
            }
            Dialect::Postgres => {
                " ON CONFLICT (run_id, key, chunk) DO UPDATE SET \
                 points = metric_chunks.points || excluded.points"
            }
        });
        chunks.build().execute(tx).await?;
    }
    Ok(())
}

/// Moves the latest points on; returns how many points each metric has now.
async fn move_latest<'g>(
    tx: &mut Tx,
    group: &'g Group<'g>,
) -> Result<BTreeMap<(&'g str, &'g str), i64>> {
    let mut upsert = QueryBuilder::new(
        tx,
        "INSERT INTO latest_metrics (run_id, experiment_id, key, timestamp, step, value, is_nan, points)",
    );
    upsert.push_rows(group.iter().map(|((run_id, key), (experiment, points))| {
        let latest = points.iter().fold(points[0], |latest, point| {
            if point.is_later(&latest) {
                *point
            } else {
                latest
            }
        });
        let (value, is_nan) = latest.comparable();
        [
            (*run_id).into(),
            experiment.into(),
            key.into(),
            latest.timestamp.into(),
            latest.step.into(),
            value.into(),
            is_nan.into(),
            i64::try_from(points.len()).unwrap_or_default().into(),
        ]
    }));
    upsert.push(
        " ON CONFLICT (run_id, key) DO UPDATE SET experiment_id = excluded.experiment_id, \
         points = latest_metrics.points + excluded.points",
    );
    for column in ["timestamp", "step", "value", "is_nan"] {
        upsert.push(format!(
            ", {column} = CASE WHEN (excluded.step, excluded.timestamp, excluded.value, excluded.is_nan) > \
             (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value, latest_metrics.is_nan) \
             THEN excluded.{column} ELSE latest_metrics.{column} END"
        ));
    }
    upsert.push(" RETURNING run_id, key, points");
    let rows: Vec<(String, String, i64)> = upsert.build().fetch_all(tx).await?;
    let totals: std::collections::HashMap<(String, String), i64> = rows
        .into_iter()
        .map(|(run_id, key, points)| ((run_id, key), points))
        .collect();
    Ok(group
        .iter()
        .filter_map(|((run_id, key), _)| {
            let total = totals.get(&((*run_id).to_owned(), key.clone()))?;
            Some(((*run_id, key.as_str()), *total))
        })
        .collect())
}
