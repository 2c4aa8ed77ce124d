//! The spans of traces.

use std::collections::{BTreeMap, HashMap};

use mlflow_api::types::{KeyValue, Trace, TraceInfo};

use super::db::{QueryBuilder, query};
use super::experiments::active_experiment;
use super::tags::{CHUNK, TRACE_METADATA, TRACE_TAGS};
use super::traces::location_tag;
use super::{Result, Store};
use crate::otlp::ReceivedSpan;

/// Says where the spans are; clients look here when it says `TRACKING_STORE`.
pub(crate) const SPANS_LOCATION: &str = "mlflow.trace.spansLocation";
const SIZE_STATS: &str = "mlflow.trace.sizeStats";

/// What the spans of one trace say of it.
struct OfTrace<'a> {
    start_ms: i64,
    end_ms: Option<i64>,
    root_status: Option<&'static str>,
    spans: Vec<&'a ReceivedSpan>,
}

impl Store {
    /// Keeps spans in an experiment; a trace that is not known yet begins with them. All or none.
    ///
    /// # Errors
    /// When the experiment is not there or deleted.
    pub async fn log_spans(&self, experiment_id: &str, spans: &[ReceivedSpan]) -> Result<()> {
        let mut tx = self.write().await?;
        let experiment = active_experiment(&mut tx, experiment_id).await?;
        // In the order of ids, which is one order of rows for all writers.
        let mut traces: BTreeMap<&str, OfTrace<'_>> = BTreeMap::new();
        for span in spans {
            let trace = traces.entry(&span.trace_id).or_insert(OfTrace {
                start_ms: i64::MAX,
                end_ms: None,
                root_status: None,
                spans: Vec::new(),
            });
            trace.start_ms = trace.start_ms.min(span.start_ns / 1_000_000);
            trace.end_ms = trace.end_ms.max(span.end_ns.map(|end| end / 1_000_000));
            if span.parent_span_id.is_none() {
                let failed = span.status == "ERROR";
                trace.root_status = Some(if failed { "ERROR" } else { "OK" });
            }
            trace.spans.push(span);
        }
        for (trace_id, trace) in traces {
            let root = trace.spans.iter().find(|s| s.parent_span_id.is_none());
            let previews = root.map(|root| &root.of_trace);
            query(
                "INSERT INTO traces (trace_id, experiment_id, timestamp_ms, execution_time_ms, \
                 status, request_preview, response_preview, finalized) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 0) \
                 ON CONFLICT (trace_id) DO UPDATE SET \
                 timestamp_ms = CASE WHEN traces.finalized = 1 \
                  OR traces.timestamp_ms < excluded.timestamp_ms \
                  THEN traces.timestamp_ms ELSE excluded.timestamp_ms END, \
                 execution_time_ms = CASE WHEN traces.finalized = 1 \
                  OR excluded.execution_time_ms IS NULL THEN traces.execution_time_ms \
                  ELSE (CASE WHEN traces.timestamp_ms + COALESCE(traces.execution_time_ms, 0) \
                   > excluded.timestamp_ms + excluded.execution_time_ms \
                   THEN traces.timestamp_ms + COALESCE(traces.execution_time_ms, 0) \
                   ELSE excluded.timestamp_ms + excluded.execution_time_ms END) \
                   - (CASE WHEN traces.timestamp_ms < excluded.timestamp_ms \
                   THEN traces.timestamp_ms ELSE excluded.timestamp_ms END) END, \
                 status = CASE WHEN traces.status IN ('IN_PROGRESS', 'STATE_UNSPECIFIED') \
                  THEN excluded.status ELSE traces.status END, \
                 request_preview = COALESCE(traces.request_preview, excluded.request_preview), \
                 response_preview = COALESCE(traces.response_preview, excluded.response_preview)",
            )
            .bind(trace_id)
            .bind(experiment.experiment_id)
            .bind(trace.start_ms)
            .bind(trace.end_ms.map(|end| end - trace.start_ms))
            .bind(trace.root_status.unwrap_or("IN_PROGRESS"))
            .bind(previews.and_then(|p| p.request_preview.as_deref()))
            .bind(previews.and_then(|p| p.response_preview.as_deref()))
            .execute(&mut tx)
            .await?;
            let owner = trace_id.to_owned();
            let mut tags: Vec<KeyValue> = trace
                .spans
                .iter()
                .flat_map(|span| &span.of_trace.tags)
                .map(|(key, value)| KeyValue::new(key, value))
                .collect();
            tags.push(location_tag(&experiment.artifact_location, trace_id));
            tags.push(KeyValue::new(SPANS_LOCATION, "TRACKING_STORE"));
            TRACE_TAGS.set(&mut tx, &owner, &tags).await?;
            let metadata: Vec<KeyValue> = trace
                .spans
                .iter()
                .flat_map(|span| &span.of_trace.metadata)
                .map(|(key, value)| KeyValue::new(key, value))
                .collect();
            // What the client said of its trace weighs more than what a span says.
            TRACE_METADATA.add(&mut tx, &owner, &metadata).await?;
            for span in trace.spans {
                query(
                    "INSERT INTO spans (trace_id, span_id, parent_span_id, name, type, status, \
                     start_ns, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                     ON CONFLICT (trace_id, span_id) DO UPDATE SET \
                     parent_span_id = excluded.parent_span_id, name = excluded.name, \
                     type = excluded.type, status = excluded.status, \
                     start_ns = excluded.start_ns, content = excluded.content",
                )
                .bind(trace_id)
                .bind(&span.span_id)
                .bind(&span.parent_span_id)
                .bind(&span.name)
                .bind(&span.span_type)
                .bind(span.status)
                .bind(span.start_ns)
                .bind(&span.content)
                .execute(&mut tx)
                .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// A trace with its spans; `None` while spans of it are still on their way, unless that is
    /// allowed.
    ///
    /// # Errors
    /// When there is no such trace.
    pub async fn get_trace(&self, trace_id: &str, allow_partial: bool) -> Result<Option<Trace>> {
        let info = self.get_trace_info(trace_id).await?;
        Ok(self
            .with_spans(vec![info], allow_partial)
            .await?
            .into_iter()
            .next())
    }

    /// Adds the spans of traces: the root first, then by time. What is not complete is left out,
    /// unless that is allowed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn with_spans(
        &self,
        infos: Vec<TraceInfo>,
        allow_partial: bool,
    ) -> Result<Vec<Trace>> {
        let ids: Vec<String> = infos.iter().map(|info| info.trace_id.clone()).collect();
        let mut found: HashMap<String, Vec<serde_json::Value>> = HashMap::new();
        let mut connection = self.read().await?;
        for chunk in ids.chunks(CHUNK) {
            let mut query = QueryBuilder::new(
                &connection,
                "SELECT trace_id, content FROM spans WHERE trace_id",
            );
            query.push_in(chunk);
            query.push(
                " ORDER BY trace_id, CASE WHEN parent_span_id IS NULL THEN 0 ELSE 1 END, \
                 start_ns, span_id",
            );
            let rows: Vec<(String, String)> = query.build().fetch_all(&mut connection).await?;
            for (trace_id, content) in rows {
                let span = serde_json::from_str(&content)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?;
                found.entry(trace_id).or_default().push(span);
            }
        }
        Ok(infos
            .into_iter()
            .filter_map(|info| {
                let spans = found.remove(&info.trace_id).unwrap_or_default();
                let complete = !spans.is_empty() && spans.len() >= expected(&info);
                (complete || allow_partial).then_some(Trace {
                    trace_info: Some(info),
                    spans,
                })
            })
            .collect())
    }
}

/// How many spans a trace says it has; 0 when it does not say.
fn expected(info: &TraceInfo) -> usize {
    info.trace_metadata
        .get(SIZE_STATS)
        .and_then(|stats| serde_json::from_str::<serde_json::Value>(stats).ok())
        .and_then(|stats| stats.get("num_spans")?.as_u64())
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0)
}
