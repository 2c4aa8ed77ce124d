//! Rows of `metrics`, one a point, as the log knows them.

use mlflow_api::types::Metric;

use super::ingest::entry_number;
use super::points::entry;
use super::shown;
use crate::store::db::{Pools, query};

/// Points of one entry: a large run becomes several.
const POINTS: usize = 10_000;

impl Pools {
    /// Moves what an older program wrote to the log, a run at a time.
    pub(in crate::store) async fn move_old_metrics(&self) -> sqlx::Result<()> {
        loop {
            let mut tx = self.write().await?;
            // Of several replicas that start at once, each gets the rows that it deletes.
            let rows: Vec<(String, String, i64, i64, f64, i64)> = query(
                "DELETE FROM metrics WHERE run_id = (SELECT run_id FROM metrics LIMIT 1) \
                 RETURNING run_id, key, timestamp, step, value, is_nan",
            )
            .fetch_all(&mut tx)
            .await?;
            let Some((run_id, ..)) = rows.first().cloned() else {
                let left: Option<(i64,)> = query("SELECT step FROM metrics LIMIT 1")
                    .fetch_optional(&mut tx)
                    .await?;
                if left.is_none() {
                    return Ok(());
                }
                continue;
            };
            let metrics: Vec<Metric> = rows
                .into_iter()
                .map(|(_, key, timestamp, step, value, is_nan)| {
                    Metric::new(key, shown(value, is_nan), timestamp, step)
                })
                .collect();
            tracing::info!(
                run_id,
                points = metrics.len(),
                "packing the metrics of a run"
            );
            for metrics in metrics.chunks(POINTS) {
                query("INSERT INTO metric_log (run_id, entry, points) VALUES ($1, $2, $3)")
                    .bind(&run_id)
                    .bind(entry_number())
                    .bind(entry(metrics))
                    .execute(&mut tx)
                    .await?;
            }
            tx.commit().await?;
        }
    }
}
