//! The routes of traces that clients before 3.0 use.

use axum::Json;
use axum::extract::{Path, State};
use mlflow_api::types::{
    ExperimentLocation, KeyValue, SearchTraces, SearchTracesV2Response, Timestamp, TraceInfo,
    TraceInfoV2, TraceInfoV2Response, TraceLocation, TraceLocationType, TraceState, WriteTraceV2,
};

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::required;
use crate::Registry;

fn old_form(info: TraceInfo) -> TraceInfoV2 {
    let pairs = |map: std::collections::BTreeMap<String, String>| {
        map.into_iter()
            .map(|(key, value)| KeyValue { key, value })
            .collect()
    };
    let experiment = info.trace_location.and_then(|l| l.mlflow_experiment);
    TraceInfoV2 {
        request_id: info.trace_id,
        experiment_id: experiment.map(|e| e.experiment_id).unwrap_or_default(),
        timestamp_ms: info.request_time.map(|time| time.0),
        execution_time_ms: info.execution_duration.map(|duration| duration.0),
        status: info.state,
        request_metadata: pairs(info.trace_metadata),
        tags: pairs(info.tags),
    }
}

pub(super) async fn start(
    State(registry): State<Registry>,
    Rpc(request): Rpc<WriteTraceV2>,
) -> Answer<TraceInfoV2Response> {
    let map = |pairs: Vec<KeyValue>| pairs.into_iter().map(|p| (p.key, p.value)).collect();
    let info = TraceInfo {
        trace_id: format!("tr-{}", uuid::Uuid::new_v4().simple()),
        trace_location: Some(TraceLocation {
            r#type: Some(TraceLocationType::MlflowExperiment),
            mlflow_experiment: Some(ExperimentLocation {
                experiment_id: request.experiment_id.clone(),
            }),
        }),
        request_time: request.timestamp_ms.map(Timestamp),
        state: Some(TraceState::InProgress),
        trace_metadata: map(request.request_metadata),
        tags: map(request.tags),
        ..TraceInfo::default()
    };
    let info = registry
        .store()
        .start_trace(&request.experiment_id, info)
        .await?;
    Ok(Json(TraceInfoV2Response {
        trace_info: old_form(info),
    }))
}

pub(super) async fn end(
    State(registry): State<Registry>,
    Path(trace_id): Path<String>,
    Rpc(request): Rpc<WriteTraceV2>,
) -> Answer<TraceInfoV2Response> {
    let end = request
        .timestamp_ms
        .ok_or_else(|| ApiError::missing("timestamp_ms"))?;
    let state = request.status.unwrap_or(TraceState::Unspecified);
    for pair in request.request_metadata.iter().chain(&request.tags) {
        required("key", &pair.key)?;
    }
    let info = registry
        .store()
        .end_trace(
            &trace_id,
            end,
            state,
            &request.request_metadata,
            &request.tags,
        )
        .await?;
    Ok(Json(TraceInfoV2Response {
        trace_info: old_form(info),
    }))
}

pub(super) async fn get_info(
    State(registry): State<Registry>,
    Path(trace_id): Path<String>,
) -> Answer<TraceInfoV2Response> {
    Ok(Json(TraceInfoV2Response {
        trace_info: old_form(registry.store().get_trace_info(&trace_id).await?),
    }))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    Rpc(request): Rpc<SearchTraces>,
) -> Answer<SearchTracesV2Response> {
    if request.experiment_ids.is_empty() {
        return Err(ApiError::missing("experiment_ids"));
    }
    let found = super::traces::find(&registry, request).await?;
    Ok(Json(SearchTracesV2Response {
        traces: found.items.into_iter().map(old_form).collect(),
        next_page_token: found.next_page_token,
    }))
}
