//! How long what is kept.

use std::ops::Range;
use std::time::Duration;

use super::{HistoryKind, MarketHistory, partitions};
use crate::store::Result;
use crate::store::db::{Dialect, QueryBuilder};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How far ahead of the clock an event may be and still count as one of its time.
const AHEAD: i64 = 86_400_000_000;
/// How many rows are deleted at once: others write in between.
const AT_ONCE: i64 = 5_000;

/// How long each kind is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRetention {
    /// Alerts.
    pub alerts: Duration,
    /// Verdicts of the drift detector.
    pub drift: Duration,
    /// Candles.
    pub candles: Duration,
    /// Scores.
    pub scores: Duration,
}

impl Default for HistoryRetention {
    /// A year of alerts and verdicts, 90 days of candles, 30 days of scores.
    fn default() -> Self {
        Self {
            alerts: 365 * DAY,
            drift: 365 * DAY,
            candles: 90 * DAY,
            scores: 30 * DAY,
        }
    }
}

impl HistoryRetention {
    /// How long that kind is kept.
    #[must_use]
    pub fn of(&self, kind: HistoryKind) -> Duration {
        match kind {
            HistoryKind::Alerts => self.alerts,
            HistoryKind::Drift => self.drift,
            HistoryKind::Candles => self.candles,
            HistoryKind::Scores => self.scores,
        }
    }

    /// That kind, to be set.
    pub fn of_mut(&mut self, kind: HistoryKind) -> &mut Duration {
        match kind {
            HistoryKind::Alerts => &mut self.alerts,
            HistoryKind::Drift => &mut self.drift,
            HistoryKind::Candles => &mut self.candles,
            HistoryKind::Scores => &mut self.scores,
        }
    }

    /// The event times of what is neither forgotten at the time `now` nor far ahead of it, µs.
    pub(super) fn window(&self, kind: HistoryKind, now: i64) -> Range<i64> {
        let kept = i64::try_from(self.of(kind).as_micros()).unwrap_or(i64::MAX);
        now.saturating_sub(kept)..now.saturating_add(AHEAD)
    }
}

impl MarketHistory {
    /// Forgets what is older than is kept, and prepares for the next days; `now` in µs since the
    /// epoch. Returns how many rows were deleted one by one; those of dropped partitions are not
    /// counted.
    ///
    /// # Errors
    /// When the database fails; what was forgotten until then stays so.
    pub async fn keep_up(&self, now: i64) -> Result<u64> {
        let mut deleted = 0;
        for kind in HistoryKind::ALL {
            let window = self.retention.window(kind, now);
            if self.store.pools.dialect() == Dialect::Postgres {
                self.learn_partitions(kind).await?;
                self.ensure_partitions(kind, [now, now.saturating_add(AHEAD)], now)
                    .await?;
                self.drop_partitions(kind, window.start).await?;
            }
            deleted += self.delete(kind, window.start).await?;
        }
        Ok(deleted)
    }

    /// Deletes what is in no partition and was to be kept until then.
    async fn delete(&self, kind: HistoryKind, before: i64) -> Result<u64> {
        let mut all = 0;
        loop {
            let mut tx = self.store.write().await?;
            let (table, row) = match tx.dialect() {
                Dialect::Sqlite => (kind.table().to_owned(), "rowid"),
                Dialect::Postgres => (partitions::other(kind), "ctid"),
            };
            let mut delete = QueryBuilder::new(
                &tx,
                format!(
                    "DELETE FROM {table} WHERE {row} IN (SELECT {row} FROM {table} WHERE kept_since < "
                ),
            );
            delete
                .push_bind(before)
                .push(" LIMIT ")
                .push_bind(AT_ONCE)
                .push(")");
            let deleted = delete.build().execute(&mut tx).await?;
            tx.commit().await?;
            all += deleted;
            if deleted < AT_ONCE.unsigned_abs() {
                return Ok(all);
            }
        }
    }
}
