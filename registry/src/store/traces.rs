//! Traces: what they are, without their spans.

use std::collections::{BTreeMap, HashMap};

use mlflow_api::types::{
    ExperimentLocation, KeyValue, Millis, Timestamp, TraceInfo, TraceLocation, TraceLocationType,
    TraceState,
};

use super::assessments::{assessments_of, insert_assessment};
use super::db::{Conn, QueryBuilder, query};
use super::experiments::active_experiment;
use super::tags::{CHUNK, TRACE_METADATA, TRACE_TAGS};
use super::{Result, Store, StoreError, experiment_number, no_experiment};

const ARTIFACT_LOCATION: &str = "mlflow.artifactLocation";
/// Says that the client has said what the trace is.
const FINALIZED: &str = "mlflow.trace.infoFinalized";

pub(super) const COLUMNS: &str = "r.trace_id, r.experiment_id, r.timestamp_ms, \
     r.execution_time_ms, r.status, r.client_request_id, r.request_preview, r.response_preview";

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    trace_id: String,
    experiment_id: i64,
    timestamp_ms: i64,
    execution_time_ms: Option<i64>,
    status: String,
    client_request_id: Option<String>,
    request_preview: Option<String>,
    response_preview: Option<String>,
}

/// Which traces are deleted.
#[derive(Debug, Clone, Default)]
pub struct TraceDeletion {
    /// Those of this experiment,
    pub experiment_id: String,
    /// which began until then,
    pub max_timestamp_ms: Option<i64>,
    /// at most so many, the oldest first,
    pub max_traces: Option<i64>,
    /// of these only, if there are any.
    pub trace_ids: Vec<String>,
}

/// A time or a length of time, in ms, that can be added to another: neither database adds integers
/// beyond its largest, and one trace with such a sum would break every search that meets it.
fn bounded(ms: i64) -> i64 {
    const LARGEST: i64 = 1 << 53;
    ms.clamp(-LARGEST, LARGEST)
}

pub(super) fn no_trace(trace_id: &str) -> StoreError {
    StoreError::NotFound(format!("Trace with ID '{trace_id}' not found."))
}

impl Store {
    /// Notes what a trace is, whether or not spans of it are there already.
    ///
    /// # Errors
    /// When its experiment is not there or deleted.
    pub async fn start_trace(&self, experiment_id: &str, trace: TraceInfo) -> Result<TraceInfo> {
        let mut tx = self.write().await?;
        let experiment = active_experiment(&mut tx, experiment_id).await?;
        query(
            "INSERT INTO traces (trace_id, experiment_id, timestamp_ms, execution_time_ms, status, \
             client_request_id, request_preview, response_preview, finalized) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) \
             ON CONFLICT (trace_id) DO UPDATE SET experiment_id = excluded.experiment_id, \
             timestamp_ms = excluded.timestamp_ms, \
             execution_time_ms = excluded.execution_time_ms, status = excluded.status, \
             client_request_id = excluded.client_request_id, finalized = 1, \
             request_preview = COALESCE(excluded.request_preview, traces.request_preview), \
             response_preview = COALESCE(excluded.response_preview, traces.response_preview)",
        )
        .bind(&trace.trace_id)
        .bind(experiment.experiment_id)
        .bind(bounded(trace.request_time.unwrap_or_default().0))
        .bind(trace.execution_duration.map(|duration| bounded(duration.0)))
        .bind(trace.state.unwrap_or(TraceState::Unspecified).as_str())
        .bind(&trace.client_request_id)
        .bind(&trace.request_preview)
        .bind(&trace.response_preview)
        .execute(&mut tx)
        .await?;
        let mut tags = pairs(trace.tags);
        tags.push(location_tag(&experiment.artifact_location, &trace.trace_id));
        TRACE_TAGS.set(&mut tx, &trace.trace_id, &tags).await?;
        let mut metadata = pairs(trace.trace_metadata);
        metadata.push(KeyValue::new(FINALIZED, "true"));
        TRACE_METADATA
            .set(&mut tx, &trace.trace_id, &metadata)
            .await?;
        for assessment in &trace.assessments {
            insert_assessment(&mut tx, &trace.trace_id, assessment).await?;
        }
        let trace = load(&mut tx, &trace.trace_id).await?;
        tx.commit().await?;
        Ok(trace)
    }

    /// Notes how a trace of the old form ended.
    ///
    /// # Errors
    /// When there is no such trace.
    pub async fn end_trace(
        &self,
        trace_id: &str,
        end_ms: i64,
        state: TraceState,
        metadata: &[KeyValue],
        tags: &[KeyValue],
    ) -> Result<TraceInfo> {
        let mut tx = self.write().await?;
        let changed = query(
            "UPDATE traces SET execution_time_ms = $1 - timestamp_ms, status = $2 \
             WHERE trace_id = $3",
        )
        .bind(bounded(end_ms))
        .bind(state.as_str())
        .bind(trace_id)
        .execute(&mut tx)
        .await?;
        if changed == 0 {
            return Err(no_trace(trace_id));
        }
        let owner = trace_id.to_owned();
        TRACE_METADATA.set(&mut tx, &owner, metadata).await?;
        TRACE_TAGS.set(&mut tx, &owner, tags).await?;
        let trace = load(&mut tx, trace_id).await?;
        tx.commit().await?;
        Ok(trace)
    }

    /// The trace of that id.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get_trace_info(&self, trace_id: &str) -> Result<TraceInfo> {
        let mut connection = self.read().await?;
        load(&mut connection, trace_id).await
    }

    /// The traces of those ids (and, if given, experiments) that there are, in that order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get_trace_infos(
        &self,
        trace_ids: &[String],
        experiment_ids: Option<&[String]>,
    ) -> Result<Vec<TraceInfo>> {
        let mut rows: Vec<Row> = Vec::new();
        let mut connection = self.read().await?;
        for chunk in trace_ids.chunks(CHUNK) {
            let mut query = QueryBuilder::new(&connection, "SELECT ");
            query.push(COLUMNS).push(" FROM traces r WHERE r.trace_id");
            query.push_in(chunk);
            let found: Vec<Row> = query.build().fetch_all(&mut connection).await?;
            rows.extend(found);
        }
        if let Some(experiments) = experiment_ids {
            let experiments: Vec<_> = experiments
                .iter()
                .filter_map(|id| experiment_number(id))
                .collect();
            rows.retain(|row| experiments.contains(&row.experiment_id));
        }
        let at: HashMap<&str, usize> = trace_ids
            .iter()
            .enumerate()
            .rev()
            .map(|(at, id)| (id.as_str(), at))
            .collect();
        rows.sort_by_key(|row| at.get(row.trace_id.as_str()).copied());
        // An id that is asked for in two chunks is found twice.
        rows.dedup_by(|a, b| a.trace_id == b.trace_id);
        with_details(&mut connection, rows).await
    }

    /// Sets a tag.
    ///
    /// # Errors
    /// When there is no such trace.
    pub async fn set_trace_tag(&self, trace_id: &str, tag: KeyValue) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, trace_id).await?;
        TRACE_TAGS
            .set(&mut tx, &trace_id.to_owned(), &[tag])
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// When there is no such trace, or it has no such tag.
    pub async fn delete_trace_tag(&self, trace_id: &str, key: &str) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, trace_id).await?;
        if !TRACE_TAGS
            .delete(&mut tx, &trace_id.to_owned(), key)
            .await?
        {
            return Err(StoreError::NotFound(format!(
                "No trace tag with key '{key}' for trace with ID '{trace_id}'"
            )));
        }
        tx.commit().await?;
        Ok(())
    }

    /// Deletes traces, and says how many.
    ///
    /// # Errors
    /// When there is no such experiment.
    pub async fn delete_traces(&self, deletion: &TraceDeletion) -> Result<u64> {
        let id = &deletion.experiment_id;
        let experiment = experiment_number(id).ok_or_else(|| no_experiment(id))?;
        let mut tx = self.write().await?;
        let mut deleted = 0;
        let all: [&[String]; 1] = [&[]];
        let chunks: Vec<&[String]> = if deletion.trace_ids.is_empty() {
            all.to_vec()
        } else {
            deletion.trace_ids.chunks(CHUNK).collect()
        };
        for chunk in chunks {
            let mut query = QueryBuilder::new(
                &tx,
                "DELETE FROM traces WHERE trace_id IN (SELECT trace_id FROM traces \
                 WHERE experiment_id = ",
            );
            query.push_bind(experiment);
            if let Some(latest) = deletion.max_timestamp_ms {
                query.push(" AND timestamp_ms <= ").push_bind(latest);
            }
            if !chunk.is_empty() {
                query.push(" AND trace_id");
                query.push_in(chunk);
            }
            query.push(" ORDER BY timestamp_ms, trace_id");
            if let Some(most) = deletion.max_traces {
                let left = most.saturating_sub(i64::try_from(deleted).unwrap_or(i64::MAX));
                query.push(" LIMIT ").push_bind(left.max(0));
            }
            query.push(")");
            deleted += query.build().execute(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(deleted)
    }

    /// Links traces to a run; those that there are not are left out.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn link_traces_to_run(&self, trace_ids: &[String], run_id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        super::runs::active_run(&mut tx, run_id).await?;
        for trace_id in trace_ids {
            query(
                "INSERT INTO trace_runs (trace_id, run_id) SELECT trace_id, $1 FROM traces \
                 WHERE trace_id = $2 ON CONFLICT DO NOTHING",
            )
            .bind(run_id)
            .bind(trace_id)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Links versions of prompts (`name/version`) to a trace.
    ///
    /// # Errors
    /// When there is no such trace.
    pub async fn link_prompts_to_trace(&self, trace_id: &str, prompts: &[String]) -> Result<()> {
        let mut tx = self.write().await?;
        require(&mut tx, trace_id).await?;
        for prompt in prompts {
            query(
                "INSERT INTO trace_prompts (trace_id, prompt) VALUES ($1, $2) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(trace_id)
            .bind(prompt)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

fn pairs(map: BTreeMap<String, String>) -> Vec<KeyValue> {
    map.into_iter()
        .map(|(key, value)| KeyValue { key, value })
        .collect()
}

/// Where a trace's files would be.
pub(super) fn location_tag(experiment: &str, trace_id: &str) -> KeyValue {
    let root = experiment.trim_end_matches('/');
    KeyValue::new(
        ARTIFACT_LOCATION,
        format!("{root}/traces/{trace_id}/artifacts"),
    )
}

pub(super) async fn require(connection: &mut Conn, trace_id: &str) -> Result<()> {
    let found: Option<(i64,)> = query("SELECT experiment_id FROM traces WHERE trace_id = $1")
        .bind(trace_id)
        .fetch_optional(connection)
        .await?;
    found.map(|_| ()).ok_or_else(|| no_trace(trace_id))
}

async fn load(connection: &mut Conn, trace_id: &str) -> Result<TraceInfo> {
    let mut query = QueryBuilder::new(connection, "SELECT ");
    query
        .push(COLUMNS)
        .push(" FROM traces r WHERE r.trace_id = ")
        .push_bind(trace_id.to_owned());
    let row: Option<Row> = query.build().fetch_optional(connection).await?;
    let row = row.ok_or_else(|| no_trace(trace_id))?;
    Ok(with_details(connection, vec![row]).await?.remove(0))
}

/// Adds tags, metadata and assessments, with one query per kind of thing for all traces.
pub(super) async fn with_details(connection: &mut Conn, rows: Vec<Row>) -> Result<Vec<TraceInfo>> {
    let ids: Vec<String> = rows.iter().map(|row| row.trace_id.clone()).collect();
    let mut tags = TRACE_TAGS.of(connection, &ids).await?;
    let mut metadata = TRACE_METADATA.of(connection, &ids).await?;
    let mut assessments = assessments_of(connection, &ids).await?;
    let map = |pairs: Option<Vec<KeyValue>>| {
        let pairs = pairs.unwrap_or_default().into_iter();
        pairs.map(|pair| (pair.key, pair.value)).collect()
    };
    Ok(rows
        .into_iter()
        .map(|row| TraceInfo {
            tags: map(tags.remove(&row.trace_id)),
            trace_metadata: map(metadata.remove(&row.trace_id)),
            assessments: assessments.remove(&row.trace_id).unwrap_or_default(),
            client_request_id: row.client_request_id,
            trace_location: Some(TraceLocation {
                r#type: Some(TraceLocationType::MlflowExperiment),
                mlflow_experiment: Some(ExperimentLocation {
                    experiment_id: row.experiment_id.to_string(),
                }),
            }),
            request_preview: row.request_preview,
            response_preview: row.response_preview,
            request_time: Some(Timestamp(row.timestamp_ms)),
            execution_duration: row.execution_time_ms.map(Millis),
            state: TraceState::from_name(&row.status),
            trace_id: row.trace_id,
        })
        .collect())
}
