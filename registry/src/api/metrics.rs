//! Points of metrics: logging and reading back.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use mlflow_api::types::{
    Empty, GetMetricHistory, GetMetricHistoryBulk, GetMetricHistoryBulkInterval,
    GetMetricHistoryResponse, LogBatch, LogMetric, Metric,
};
use serde::Serialize;

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::store::{PageRequest, StoreError};

const MAX_RUNS_IN_BULK: usize = 100;
const MAX_POINTS_IN_INTERVAL: i64 = 2500;
const MAX_POINTS_IN_BULK: i64 = 25_000;

pub(super) async fn log(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LogMetric>,
) -> Answer<Empty> {
    let run_id = validate::run_id(request.run_id.clone(), request.run_uuid.clone())?;
    let metric = point(request)?;
    validate::metric(&metric)?;
    registry
        .store()
        .log_batch(&run_id, &[metric], &[], &[])
        .await?;
    Ok(Json(Empty {}))
}

/// The point of a metric, which must have a value and a time.
fn point(metric: LogMetric) -> Result<Metric, ApiError> {
    Ok(Metric {
        key: metric.key,
        value: metric.value.ok_or_else(|| ApiError::missing("value"))?,
        timestamp: metric
            .timestamp
            .ok_or_else(|| ApiError::missing("timestamp"))?,
        step: metric.step.unwrap_or(0),
        model_id: metric.model_id,
        dataset_name: metric.dataset_name,
        dataset_digest: metric.dataset_digest,
        run_id: None,
    })
}

pub(super) async fn log_batch(
    State(registry): State<Registry>,
    Rpc(mut request): Rpc<LogBatch>,
) -> Answer<Empty> {
    required("run_id", &request.run_id)?;
    let metrics = request
        .metrics
        .into_iter()
        .map(point)
        .collect::<Result<Vec<_>, _>>()?;
    validate::batch(&metrics, &mut request.params, &mut request.tags)?;
    registry
        .store()
        .log_batch(&request.run_id, &metrics, &request.params, &request.tags)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn history(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetMetricHistory>,
) -> Answer<GetMetricHistoryResponse> {
    let run_id = validate::run_id(request.run_id, request.run_uuid)?;
    required("metric_key", &request.metric_key)?;
    let page = match request.max_results {
        Some(size) => {
            let size = validate::max_results(Some(size), size, i64::from(i32::MAX))?;
            Some(PageRequest::new(size, request.page_token.as_deref())?)
        }
        // Everything, which has no second page to ask for.
        None => None,
    };
    let found = registry
        .store()
        .metric_history(&run_id, &request.metric_key, page)
        .await?;
    Ok(Json(GetMetricHistoryResponse {
        metrics: found.items,
        next_page_token: found.next_page_token,
    }))
}

/// The histories of several runs, in the order of their ids; a run that is not there has none.
pub(super) async fn history_bulk(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetMetricHistoryBulk>,
) -> Answer<Histories> {
    required("metric_key", &request.metric_key)?;
    if request.run_id.is_empty() || request.run_id.len() > MAX_RUNS_IN_BULK {
        return Err(ApiError::invalid(format!(
            "GetMetricHistoryBulk request must specify 1 to {MAX_RUNS_IN_BULK} run_ids."
        )));
    }
    let size = request.max_results.map(|size| size.min(MAX_POINTS_IN_BULK));
    let size = validate::max_results(size, MAX_POINTS_IN_BULK, MAX_POINTS_IN_BULK)?;
    let limit = usize::try_from(size).unwrap_or(usize::MAX);
    let runs: BTreeSet<&String> = request.run_id.iter().collect();
    let mut metrics = Vec::new();
    for run_id in runs {
        let left = limit - metrics.len();
        if left == 0 {
            break;
        }
        let found = registry
            .store()
            .metric_history(run_id, &request.metric_key, None)
            .await;
        let points = match found {
            Ok(found) => found.items,
            Err(StoreError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        metrics.extend(points.into_iter().take(left).map(|point| Metric {
            run_id: Some(run_id.clone()),
            ..point
        }));
    }
    Ok(Json(Histories { metrics }))
}

/// The answer to [`history_bulk`]: no message of MLflow's descriptors, so the list is there even
/// when it is empty.
#[derive(Debug, Serialize)]
pub(super) struct Histories {
    metrics: Vec<Metric>,
}

pub(super) async fn history_bulk_interval(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetMetricHistoryBulkInterval>,
) -> Answer<GetMetricHistoryResponse> {
    required("metric_key", &request.metric_key)?;
    if request.run_ids.is_empty() || request.run_ids.len() > MAX_RUNS_IN_BULK {
        return Err(ApiError::invalid(format!(
            "GetMetricHistoryBulkInterval request must specify 1 to {MAX_RUNS_IN_BULK} run_ids."
        )));
    }
    let size = validate::max_results(
        request.max_results,
        MAX_POINTS_IN_INTERVAL,
        MAX_POINTS_IN_INTERVAL,
    )?;
    let steps = match (request.start_step, request.end_step) {
        (None, None) => (i64::MIN, i64::MAX),
        (Some(start), Some(end)) if start <= end => (start, end),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid("end_step must not be below start_step."));
        }
        _ => {
            return Err(ApiError::invalid(
                "If either start step or end step are specified, both must be specified.",
            ));
        }
    };
    let limit = usize::try_from(size).unwrap_or(usize::MAX);
    let mut metrics = Vec::new();
    for run_id in &request.run_ids {
        let points = registry
            .store()
            .metric_interval(run_id, &request.metric_key, steps, limit)
            .await?;
        metrics.extend(points);
    }
    Ok(Json(GetMetricHistoryResponse {
        metrics,
        next_page_token: None,
    }))
}
