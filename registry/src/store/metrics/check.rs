//! Comparing latest points with their histories.

use std::collections::BTreeMap;

use super::hold_folding;
use super::points::{Point, read_chunk};
use crate::store::db::query;
use crate::store::{Result, Store};

/// A metric: run and key.
type MetricKey = (String, String);
/// A row of `latest_metrics` (key, timestamp, step, value, is_nan), or a key and a chunk.
type LatestOrChunk = (String, i64, i64, f64, i64, Option<Vec<u8>>);

impl Store {
    /// The metrics whose latest point is not the greatest of their history, or is not noted under
    /// its run's experiment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wrong_latest_metrics(&self) -> Result<Vec<MetricKey>> {
        self.settle_metrics().await?;
        let mut conn = self.read().await?;
        let run_ids: Vec<(String,)> = query(
            "SELECT run_id FROM latest_metrics UNION SELECT run_id FROM metric_chunks \
             ORDER BY run_id",
        )
        .fetch_all(&mut conn)
        .await?;
        let mut wrong: Vec<MetricKey> = query(
            "SELECT m.run_id, m.key FROM latest_metrics m JOIN runs r ON r.run_id = m.run_id \
             WHERE r.experiment_id <> m.experiment_id",
        )
        .fetch_all(&mut conn)
        .await?;
        drop(conn);
        for (run_id,) in run_ids {
            let (latest, greatest) = self.latest_and_greatest(&run_id).await?;
            for key in latest.keys().chain(greatest.keys()) {
                let same = match (latest.get(key), greatest.get(key)) {
                    (Some(a), Some(b)) => !a.is_later(b) && !b.is_later(a),
                    _ => false,
                };
                if !same {
                    wrong.push((run_id.clone(), key.clone()));
                }
            }
        }
        wrong.sort_unstable();
        wrong.dedup();
        Ok(wrong)
    }

    /// Takes latest points from their histories again; one without a history goes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fix_latest_metrics(&self, metrics: &[MetricKey]) -> Result<()> {
        for (run_id, key) in metrics {
            let mut tx = self.write().await?;
            // What is folded after the histories were read would be undone.
            hold_folding(&mut tx).await?;
            let (_, greatest) = self.latest_and_greatest(run_id).await?;
            match greatest.get(key) {
                Some(point) => {
                    let (value, is_nan) = point.comparable();
                    query(
                        "INSERT INTO latest_metrics (run_id, experiment_id, key, timestamp, step, \
                         value, is_nan) SELECT run_id, experiment_id, $2, $3, $4, $5, $6 \
                         FROM runs WHERE run_id = $1 \
                         ON CONFLICT (run_id, key) DO UPDATE SET \
                         experiment_id = excluded.experiment_id, \
                         timestamp = excluded.timestamp, step = excluded.step, \
                         value = excluded.value, is_nan = excluded.is_nan",
                    )
                    .bind(run_id)
                    .bind(key)
                    .bind(point.timestamp)
                    .bind(point.step)
                    .bind(value)
                    .bind(is_nan)
                }
                None => query("DELETE FROM latest_metrics WHERE run_id = $1 AND key = $2")
                    .bind(run_id)
                    .bind(key),
            }
            .execute(&mut tx)
            .await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// The points of a run that are stored as the latest, and those that are, by key; both from one
    /// state of the database.
    async fn latest_and_greatest(
        &self,
        run_id: &str,
    ) -> Result<(BTreeMap<String, Point>, BTreeMap<String, Point>)> {
        // One statement: what is folded meanwhile is seen in both or in neither.
        let rows: Vec<LatestOrChunk> = query(
            "SELECT key, timestamp, step, value, is_nan, CAST(NULL AS BYTEA) AS points \
             FROM latest_metrics WHERE run_id = $1 \
             UNION ALL SELECT key, 0, 0, CAST(0 AS DOUBLE PRECISION), 0, points FROM metric_chunks WHERE run_id = $1",
        )
        .bind(run_id)
        .fetch_all(&mut self.read().await?)
        .await?;
        let mut latest = BTreeMap::new();
        let mut greatest: BTreeMap<String, Point> = BTreeMap::new();
        let mut points = Vec::new();
        for (key, timestamp, step, value, is_nan, chunk) in rows {
            let Some(chunk) = chunk else {
                let value = super::shown(value, is_nan);
                latest.insert(key, Point::new(timestamp, step, value));
                continue;
            };
            points.clear();
            read_chunk(&chunk, &mut points).map_err(sqlx::Error::from)?;
            for point in &points {
                let newer = greatest.get(&key).is_none_or(|old| point.is_later(old));
                if newer {
                    greatest.insert(key.clone(), *point);
                }
            }
        }
        Ok((latest, greatest))
    }
}
