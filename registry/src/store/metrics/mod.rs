//! Points of metrics: see `migrations/0003_metric_points.sql` for where they are.

mod check;
mod fold;
mod ingest;
mod points;
mod upgrade;

use std::collections::HashMap;

use mlflow_api::types::{KeyValue, Metric};

pub(super) use fold::{Folder, hold_folding};
pub(super) use ingest::Ingest;
use points::{Point, entry, read_chunk, read_entry, sorted};

use super::db::{Conn, QueryBuilder, Tx, query};
use super::runs::{active_run, add_params, no_run, set_run_tags};
use super::tags::CHUNK;
use super::{Page, PageRequest, Result, Store};

fn shown(value: f64, is_nan: i64) -> f64 {
    if is_nan == 1 { f64::NAN } else { value }
}

/// Logs points of an active run within a transaction.
pub(super) async fn log(
    tx: &mut Tx,
    experiment: i64,
    run_id: &str,
    metrics: &[Metric],
) -> Result<()> {
    query("INSERT INTO metric_log (run_id, entry, points) VALUES ($1, $2, $3)")
        .bind(run_id)
        .bind(ingest::entry_number())
        .bind(entry(metrics))
        .execute(tx)
        .await?;
    log_for_models(tx, experiment, run_id, metrics).await
}

/// Notes points that say which logged model they are about; a model that is not known here is
/// nobody's business.
async fn log_for_models(
    tx: &mut Tx,
    experiment: i64,
    run_id: &str,
    metrics: &[Metric],
) -> Result<()> {
    for metric in metrics {
        let Some(model_id) = metric.model_id.as_deref().filter(|id| !id.is_empty()) else {
            continue;
        };
        let (value, is_nan) = Point::new(metric.timestamp, metric.step, metric.value).comparable();
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
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Notes points about one logged model, each by the run that logged it; of a run that is not here,
/// nothing is noted.
pub(super) async fn log_about_model(
    tx: &mut Tx,
    experiment: i64,
    model_id: &str,
    metrics: &[Metric],
) -> Result<()> {
    for metric in metrics {
        let Some(run_id) = metric.run_id.as_deref() else {
            continue;
        };
        let known: Option<(String,)> = query("SELECT run_id FROM runs WHERE run_id = $1")
            .bind(run_id)
            .fetch_optional(tx)
            .await?;
        if known.is_none() {
            continue;
        }
        let about = Metric {
            model_id: Some(model_id.to_owned()),
            ..metric.clone()
        };
        log_for_models(tx, experiment, run_id, &[about]).await?;
    }
    Ok(())
}

/// The latest points of runs, by run and key, put together from what is folded and what is not.
#[derive(Debug, Default)]
pub(super) struct Latest(HashMap<String, Vec<(String, Point)>>);

impl Latest {
    /// Adds a folded point; those of a run come in the order of their keys.
    pub(super) fn folded(&mut self, run_id: String, key: String, point: (i64, i64, f64, i64)) {
        let (timestamp, step, value, is_nan) = point;
        let point = Point {
            timestamp,
            step,
            value: shown(value, is_nan),
        };
        self.0.entry(run_id).or_default().push((key, point));
    }

    /// Adds an entry of the log, after all folded points.
    pub(super) fn logged(&mut self, run_id: String, bytes: &[u8]) -> Result<()> {
        let of_run = self.0.entry(run_id).or_default();
        read_entry(
            bytes,
            |_| true,
            |key, points| {
                let at = of_run.binary_search_by(|(known, _)| known.as_str().cmp(key));
                let at = at.unwrap_or_else(|at| {
                    of_run.insert(at, (key.to_owned(), points[0]));
                    at
                });
                for point in points {
                    if point.is_later(&of_run[at].1) {
                        of_run[at].1 = *point;
                    }
                }
            },
        )
        .map_err(sqlx::Error::from)?;
        Ok(())
    }

    /// The points of a run, by key.
    pub(super) fn take(&mut self, run_id: &str) -> Vec<Metric> {
        let points = self.0.remove(run_id).unwrap_or_default();
        points
            .into_iter()
            .map(|(key, point)| Metric::new(key, point.value, point.timestamp, point.step))
            .collect()
    }
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
    /// Logs points, parameters and tags of an active run: all or nothing, and durable once this
    /// returns.
    ///
    /// # Errors
    /// When there is none, it is deleted, or a parameter has another value already.
    pub async fn log_batch(
        &self,
        run_id: &str,
        metrics: &[Metric],
        params: &[KeyValue],
        tags: &[KeyValue],
    ) -> Result<()> {
        let of_model =
            |metric: &Metric| metric.model_id.as_deref().is_some_and(|id| !id.is_empty());
        let points_alone = params.is_empty() && tags.is_empty() && !metrics.is_empty();
        if points_alone
            && !metrics.iter().any(of_model)
            && self.ingest.append(run_id, entry(metrics)).await?
        {
            self.folder.nudge();
            return Ok(());
        }
        // Below it is found out why not; the run may have been restored meanwhile.
        let mut tx = self.write().await?;
        let experiment = active_run(&mut tx, run_id).await?;
        if !params.is_empty() {
            add_params(&mut tx, run_id, params).await?;
        }
        if !metrics.is_empty() {
            log(&mut tx, experiment, run_id, metrics).await?;
        }
        if !tags.is_empty() {
            set_run_tags(&mut tx, run_id, tags).await?;
        }
        tx.commit().await?;
        if !metrics.is_empty() {
            self.folder.nudge();
        }
        Ok(())
    }

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
        let points = self.points(run_id, key).await?;
        let metric = |point: &Point| Metric::new(key, point.value, point.timestamp, point.step);
        let Some(page) = page else {
            return Ok(Page {
                items: points.iter().map(metric).collect(),
                next_page_token: None,
            });
        };
        let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        let take = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        Ok(page.page(points.iter().skip(skip).take(take).map(metric).collect()))
    }

    /// Points of a metric between two steps, at most about `limit` and always the first and the
    /// last, for charts.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn metric_interval(
        &self,
        run_id: &str,
        key: &str,
        steps: (i64, i64),
        limit: usize,
    ) -> Result<Vec<Metric>> {
        let mut points = self.points(run_id, key).await?;
        points.retain(|point| (steps.0..=steps.1).contains(&point.step));
        points.sort_by_key(|point| point.step);
        let stride = points.len().div_ceil(limit.max(1)).max(1);
        let last = points.len().saturating_sub(1);
        Ok(points
            .into_iter()
            .enumerate()
            .filter(|(i, _)| i % stride == 0 || *i == last)
            .map(|(_, point)| Metric {
                run_id: Some(run_id.to_owned()),
                ..Metric::new(key, point.value, point.timestamp, point.step)
            })
            .collect())
    }

    /// All points of a metric in the order of a history, in one statement: a point that is folded
    /// meanwhile is seen once.
    async fn points(&self, run_id: &str, key: &str) -> Result<Vec<Point>> {
        const RUN: i64 = 0;
        const CHUNK: i64 = 1;
        let rows: Vec<(i64, Option<Vec<u8>>)> = query(
            "SELECT CAST(0 AS BIGINT) AS kind, CAST(NULL AS BYTEA) AS points FROM runs \
             WHERE run_id = $1 \
             UNION ALL SELECT 1, points FROM metric_chunks WHERE run_id = $1 AND key = $2 \
             UNION ALL SELECT 2, points FROM metric_log WHERE run_id = $1",
        )
        .bind(run_id)
        .bind(key)
        .fetch_all(&mut self.read().await?)
        .await?;
        if !rows.iter().any(|(kind, _)| *kind == RUN) {
            return Err(no_run(run_id));
        }
        let mut points = Vec::new();
        for (kind, bytes) in &rows {
            let bytes = bytes.as_deref().unwrap_or_default();
            match *kind {
                RUN => Ok(()),
                CHUNK => read_chunk(bytes, &mut points),
                _ => read_entry(
                    bytes,
                    |logged| logged == key,
                    |_, logged| points.extend_from_slice(logged),
                ),
            }
            .map_err(sqlx::Error::from)?;
        }
        Ok(sorted(points))
    }
}
