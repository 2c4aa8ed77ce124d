//! Points of metrics.

use std::collections::{BTreeMap, HashMap};

use mlflow_api::types::Metric;

use super::db::{Conn, QueryBuilder, query};
use super::tags::CHUNK;
use super::{Page, PageRequest, Result, Store};

/// What stands for an infinity: MLflow stores and shows the largest double.
const LARGEST: f64 = f64::MAX;

/// A value as it is stored: (value, 1 if it was NaN).
fn stored(value: f64) -> (f64, i64) {
    if value.is_nan() {
        (0.0, 1)
    } else {
        // Zero has one form only, or two equal points would be two rows.
        (value.clamp(-LARGEST, LARGEST) + 0.0, 0)
    }
}

fn shown(value: f64, is_nan: i64) -> f64 {
    if is_nan == 1 { f64::NAN } else { value }
}

#[derive(sqlx::FromRow)]
struct Row {
    run_id: String,
    key: String,
    timestamp: i64,
    step: i64,
    value: f64,
    is_nan: i64,
}

impl Row {
    fn into_metric(self) -> (String, Metric) {
        let value = shown(self.value, self.is_nan);
        (
            self.run_id,
            Metric::new(self.key, value, self.timestamp, self.step),
        )
    }
}

/// Logs points: each once, and the greatest (step, timestamp, value) of each key as its latest.
pub(super) async fn log(
    connection: &mut Conn,
    experiment: i64,
    run_id: &str,
    metrics: &[Metric],
) -> Result<()> {
    // In the order of the key, which is one order of rows for all writers.
    let mut points: Vec<(&Metric, f64, i64)> = metrics
        .iter()
        .map(|metric| {
            let (value, is_nan) = stored(metric.value);
            (metric, value, is_nan)
        })
        .collect();
    points.sort_by(|(a, x, _), (b, y, _)| {
        (&a.key, a.timestamp, a.step)
            .cmp(&(&b.key, b.timestamp, b.step))
            .then(x.total_cmp(y))
    });
    for chunk in points.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "INSERT INTO metrics (run_id, key, timestamp, step, value, is_nan)",
        );
        query.push_values(chunk, |(metric, value, is_nan)| {
            [
                run_id.into(),
                (&metric.key).into(),
                metric.timestamp.into(),
                metric.step.into(),
                value.into(),
                is_nan.into(),
            ]
        });
        query.push(" ON CONFLICT DO NOTHING");
        query.build().execute(connection).await?;
    }
    let mut latest: BTreeMap<&str, &(&Metric, f64, i64)> = BTreeMap::new();
    for point in &points {
        let newer = latest.get(point.0.key.as_str()).is_none_or(|old| {
            (point.0.step, point.0.timestamp)
                .cmp(&(old.0.step, old.0.timestamp))
                .then(point.1.total_cmp(&old.1))
                .is_gt()
        });
        if newer {
            latest.insert(&point.0.key, point);
        }
    }
    let latest: Vec<_> = latest.into_values().collect();
    for chunk in latest.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "INSERT INTO latest_metrics (run_id, key, timestamp, step, value, is_nan)",
        );
        query.push_values(chunk, |(metric, value, is_nan)| {
            [
                run_id.into(),
                (&metric.key).into(),
                metric.timestamp.into(),
                metric.step.into(),
                value.into(),
                is_nan.into(),
            ]
        });
        query.push(
            " ON CONFLICT (run_id, key) DO UPDATE SET timestamp = excluded.timestamp, \
             step = excluded.step, value = excluded.value, is_nan = excluded.is_nan \
             WHERE (excluded.step, excluded.timestamp, excluded.value) > \
             (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
        );
        query.build().execute(connection).await?;
    }
    log_for_models(connection, experiment, run_id, &points).await
}

/// Notes points that say which logged model they are about; a model that is not known here is
/// nobody's business.
async fn log_for_models(
    connection: &mut Conn,
    experiment: i64,
    run_id: &str,
    points: &[(&Metric, f64, i64)],
) -> Result<()> {
    for (metric, value, is_nan) in points {
        let Some(model_id) = metric.model_id.as_deref().filter(|id| !id.is_empty()) else {
            continue;
        };
        query(
            "INSERT INTO logged_model_metrics (model_id, run_id, key, timestamp, step, value, \
             is_nan, dataset_name, dataset_digest) \
             SELECT model_id, $1, $2, $3, $4, $5, $6, $7, $8 FROM logged_models \
             WHERE model_id = $9 AND experiment_id = $10 \
             ON CONFLICT (model_id, run_id, key, timestamp, step) DO UPDATE SET \
             value = excluded.value, is_nan = excluded.is_nan",
        )
        .bind(run_id)
        .bind(&metric.key)
        .bind(metric.timestamp)
        .bind(metric.step)
        .bind(value)
        .bind(is_nan)
        .bind(&metric.dataset_name)
        .bind(&metric.dataset_digest)
        .bind(model_id)
        .bind(experiment)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// The latest point of each metric of runs, by key.
pub(super) async fn latest_of(
    connection: &mut Conn,
    run_ids: &[String],
) -> Result<HashMap<String, Vec<Metric>>> {
    let mut found: HashMap<String, Vec<Metric>> = HashMap::new();
    for chunk in run_ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT run_id, key, timestamp, step, value, is_nan FROM latest_metrics \
             WHERE run_id",
        );
        query.push_in(chunk);
        query.push(" ORDER BY run_id, key");
        let rows: Vec<Row> = query.build().fetch_all(connection).await?;
        for (run_id, metric) in rows.into_iter().map(Row::into_metric) {
            found.entry(run_id).or_default().push(metric);
        }
    }
    Ok(found)
}

/// The points about logged models, with the run that logged each.
pub(super) async fn of_models(
    connection: &mut Conn,
    model_ids: &[String],
) -> Result<HashMap<String, Vec<Metric>>> {
    type Point = (
        String,
        String,
        String,
        i64,
        i64,
        f64,
        i64,
        Option<String>,
        Option<String>,
    );
    let mut found: HashMap<String, Vec<Metric>> = HashMap::new();
    for chunk in model_ids.chunks(CHUNK) {
        let mut query = QueryBuilder::new(
            connection,
            "SELECT model_id, run_id, key, timestamp, step, value, is_nan, dataset_name, \
             dataset_digest FROM logged_model_metrics WHERE model_id",
        );
        query.push_in(chunk);
        query.push(" ORDER BY model_id, key, timestamp, step");
        let rows: Vec<Point> = query.build().fetch_all(connection).await?;
        for (model, run, key, timestamp, step, value, is_nan, dataset_name, dataset_digest) in rows
        {
            found.entry(model.clone()).or_default().push(Metric {
                key,
                value: shown(value, is_nan),
                timestamp,
                step,
                model_id: Some(model),
                dataset_name,
                dataset_digest,
                run_id: Some(run),
            });
        }
    }
    Ok(found)
}

impl Store {
    /// The points of a metric, by timestamp, step and value; all of them without a page.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn metric_history(
        &self,
        run_id: &str,
        key: &str,
        page: Option<PageRequest>,
    ) -> Result<Page<Metric>> {
        self.get_run_info(run_id).await?;
        let page_or_all = match page {
            Some(page) => page,
            // One less than the largest: a page looks for one more than fits.
            None => PageRequest::new(i64::MAX - 1, None)?,
        };
        let mut connection = self.read().await?;
        let rows: Vec<Row> = query(
            "SELECT run_id, key, timestamp, step, value, is_nan FROM metrics \
             WHERE run_id = $1 AND key = $2 ORDER BY timestamp, step, value LIMIT $3 OFFSET $4",
        )
        .bind(run_id)
        .bind(key)
        .bind(page_or_all.limit())
        .bind(page_or_all.offset())
        .fetch_all(&mut connection)
        .await?;
        Ok(page_or_all.page(rows.into_iter().map(|row| row.into_metric().1).collect()))
    }

    /// Points of a metric of several runs between two steps, at most about `limit` a run and
    /// always the first and the last, for charts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn metric_interval(
        &self,
        run_id: &str,
        key: &str,
        steps: (i64, i64),
        limit: usize,
    ) -> Result<Vec<Metric>> {
        let mut connection = self.read().await?;
        let rows: Vec<Row> = query(
            "SELECT run_id, key, timestamp, step, value, is_nan FROM metrics \
             WHERE run_id = $1 AND key = $2 AND step BETWEEN $3 AND $4 \
             ORDER BY step, timestamp, value",
        )
        .bind(run_id)
        .bind(key)
        .bind(steps.0)
        .bind(steps.1)
        .fetch_all(&mut connection)
        .await?;
        let stride = rows.len().div_ceil(limit.max(1)).max(1);
        let last = rows.len().saturating_sub(1);
        Ok(rows
            .into_iter()
            .enumerate()
            .filter(|(i, _)| i % stride == 0 || *i == last)
            .map(|(_, row)| {
                let (run_id, metric) = row.into_metric();
                Metric {
                    run_id: Some(run_id),
                    ..metric
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stored_as_databases_can_compare_them() {
        assert_eq!(stored(f64::NAN), (0.0, 1));
        assert_eq!(stored(f64::INFINITY), (f64::MAX, 0));
        assert_eq!(stored(f64::NEG_INFINITY), (f64::MIN, 0));
        assert_eq!(stored(-0.0).0.to_bits(), 0.0_f64.to_bits());
        assert!(shown(0.0, 1).is_nan());
    }
}
