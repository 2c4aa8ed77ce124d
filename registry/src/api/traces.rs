//! `/mlflow/traces…`: what traces are; spans come through [`super::traces_otlp`].

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use mlflow_api::ErrorCode;
use mlflow_api::types::{
    BatchGetTraceInfosResponse, BatchGetTraces, BatchGetTracesResponse, DeleteTraces,
    DeleteTracesResponse, Empty, GetTrace, KeyValue, LinkPromptsToTrace, LinkTracesToRun,
    SearchTraces, SearchTracesResponse, Trace, TraceInfo, TraceMessage, TraceTag,
};
use serde_json::json;

use super::Answer;
use super::error::ApiError;
use super::extract::Rpc;
use super::validate::{self, required};
use crate::Registry;
use crate::filter::{self, TRACES};
use crate::store::{Page, PageRequest, SPANS_LOCATION, TraceDeletion, TraceSearch};

const PAGE: i64 = 100;
const MAX_PAGE: i64 = 500;
const MAX_LINKS: usize = 100;
/// Tags that say where a trace's files are: nobody sets them from outside.
const SYSTEM_TAGS: [&str; 3] = [
    SPANS_LOCATION,
    "mlflow.trace.archiveLocation",
    "mlflow.trace.archivalFailure",
];

pub(super) async fn start(
    State(registry): State<Registry>,
    Rpc(request): Rpc<TraceMessage>,
) -> Answer<TraceMessage> {
    let info = request
        .trace
        .and_then(|trace| trace.trace_info)
        .ok_or_else(|| ApiError::missing("trace"))?;
    required("trace_id", &info.trace_id)?;
    let experiment = info
        .trace_location
        .as_ref()
        .and_then(|location| location.mlflow_experiment.as_ref())
        .map(|experiment| experiment.experiment_id.clone())
        .ok_or_else(|| ApiError::missing("experiment_id"))?;
    let info = registry.store().start_trace(&experiment, info).await?;
    Ok(Json(message(info)))
}

fn message(info: TraceInfo) -> TraceMessage {
    TraceMessage {
        trace: Some(Trace {
            trace_info: Some(info),
            spans: Vec::new(),
        }),
    }
}

pub(super) async fn get_info(
    State(registry): State<Registry>,
    Path(trace_id): Path<String>,
) -> Answer<TraceMessage> {
    Ok(Json(message(
        registry.store().get_trace_info(&trace_id).await?,
    )))
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Rpc(request): Rpc<GetTrace>,
) -> Answer<TraceMessage> {
    required("trace_id", &request.trace_id)?;
    let allow_partial = request.allow_partial.unwrap_or(false);
    let trace = registry
        .store()
        .get_trace(&request.trace_id, allow_partial)
        .await?
        .ok_or_else(|| {
            ApiError::new(
                ErrorCode::ResourceDoesNotExist,
                format!(
                    "Trace with ID {} is not fully exported yet, please try again later.",
                    request.trace_id
                ),
            )
        })?;
    Ok(Json(TraceMessage { trace: Some(trace) }))
}

async fn infos(registry: &Registry, request: &BatchGetTraces) -> Result<Vec<TraceInfo>, ApiError> {
    if request.trace_ids.is_empty() {
        return Err(ApiError::missing("trace_ids"));
    }
    let experiments = Some(request.experiment_ids.as_slice()).filter(|ids| !ids.is_empty());
    Ok(registry
        .store()
        .get_trace_infos(&request.trace_ids, experiments)
        .await?)
}

pub(super) async fn batch_get(
    State(registry): State<Registry>,
    Rpc(request): Rpc<BatchGetTraces>,
) -> Answer<BatchGetTracesResponse> {
    let infos = infos(&registry, &request).await?;
    let traces = registry.store().with_spans(infos, false).await?;
    Ok(Json(BatchGetTracesResponse { traces }))
}

pub(super) async fn batch_get_infos(
    State(registry): State<Registry>,
    Rpc(request): Rpc<BatchGetTraces>,
) -> Answer<BatchGetTraceInfosResponse> {
    let trace_infos = infos(&registry, &request).await?;
    Ok(Json(BatchGetTraceInfosResponse { trace_infos }))
}

pub(super) async fn search(
    State(registry): State<Registry>,
    Rpc(mut request): Rpc<SearchTraces>,
) -> Answer<SearchTracesResponse> {
    if request.locations.is_empty() {
        return Err(ApiError::missing("locations"));
    }
    request.experiment_ids = request
        .locations
        .iter()
        .filter_map(|location| location.mlflow_experiment.as_ref())
        .map(|experiment| experiment.experiment_id.clone())
        .collect();
    let found = find(&registry, request).await?;
    Ok(Json(SearchTracesResponse {
        traces: found.items,
        next_page_token: found.next_page_token,
    }))
}

/// Looks in the experiments of a request.
pub(super) async fn find(
    registry: &Registry,
    request: SearchTraces,
) -> Result<Page<TraceInfo>, ApiError> {
    let size = validate::max_results(request.max_results, PAGE, MAX_PAGE)?;
    let page = PageRequest::new(size, request.page_token.as_deref())?;
    let orders = request
        .order_by
        .iter()
        .map(|column| filter::parse_order_by(&TRACES, column))
        .collect::<Result<Vec<_>, _>>()?;
    let search = TraceSearch {
        experiment_ids: request.experiment_ids,
        clauses: filter::parse(&TRACES, request.filter.as_deref().unwrap_or_default())?,
        orders,
    };
    Ok(registry.store().search_traces(&search, page).await?)
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Rpc(request): Rpc<DeleteTraces>,
) -> Answer<DeleteTracesResponse> {
    required("experiment_id", &request.experiment_id)?;
    let by_ids = !request.request_ids.is_empty();
    let by_time = request.max_timestamp_millis.is_some();
    if by_ids == by_time {
        return Err(ApiError::invalid(
            "Either `max_timestamp_millis` or `trace_ids` must be specified, but not both.",
        ));
    }
    if by_ids && request.max_traces.is_some() {
        return Err(ApiError::invalid(
            "`max_traces` can't be specified if `trace_ids` is specified.",
        ));
    }
    if request.max_traces.is_some_and(|most| most <= 0) {
        return Err(ApiError::invalid(format!(
            "`max_traces` must be a positive integer, received {}.",
            request.max_traces.unwrap_or_default()
        )));
    }
    let deletion = TraceDeletion {
        experiment_id: request.experiment_id,
        max_timestamp_ms: request.max_timestamp_millis,
        max_traces: request.max_traces,
        trace_ids: request.request_ids,
    };
    let deleted = registry.store().delete_traces(&deletion).await?;
    Ok(Json(DeleteTracesResponse {
        traces_deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
    }))
}

pub(super) async fn set_tag(
    State(registry): State<Registry>,
    Path(trace_id): Path<String>,
    Rpc(request): Rpc<TraceTag>,
) -> Answer<Empty> {
    let mut tag = KeyValue {
        key: request.key,
        value: request.value,
    };
    validate::tag(&mut tag)?;
    changeable(&tag.key, "set")?;
    registry.store().set_trace_tag(&trace_id, tag).await?;
    Ok(Json(Empty {}))
}

pub(super) async fn delete_tag(
    State(registry): State<Registry>,
    Path(trace_id): Path<String>,
    Rpc(request): Rpc<TraceTag>,
) -> Answer<Empty> {
    required("key", &request.key)?;
    // Deleting this one is how a failed archival is tried again.
    if request.key != "mlflow.trace.archivalFailure" {
        changeable(&request.key, "deleted")?;
    }
    registry
        .store()
        .delete_trace_tag(&trace_id, &request.key)
        .await?;
    Ok(Json(Empty {}))
}

fn changeable(key: &str, operation: &str) -> Result<(), ApiError> {
    if SYSTEM_TAGS.contains(&key) {
        return Err(ApiError::invalid(format!(
            "Tag '{key}' is immutable and cannot be {operation} on a trace."
        )));
    }
    Ok(())
}

pub(super) async fn link_to_run(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LinkTracesToRun>,
) -> Answer<Empty> {
    required("run_id", &request.run_id)?;
    let count = request.trace_ids.len();
    if count == 0 {
        return Err(ApiError::missing("trace_ids"));
    }
    if count > MAX_LINKS {
        return Err(ApiError::invalid(format!(
            "Cannot link more than {MAX_LINKS} traces to a run in a single request. Provided \
             {count} traces."
        )));
    }
    registry
        .store()
        .link_traces_to_run(&request.trace_ids, &request.run_id)
        .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn link_prompts(
    State(registry): State<Registry>,
    Rpc(request): Rpc<LinkPromptsToTrace>,
) -> Answer<Empty> {
    required("trace_id", &request.trace_id)?;
    if request.prompt_versions.is_empty() {
        return Err(ApiError::missing("prompt_versions"));
    }
    let mut prompts = Vec::with_capacity(request.prompt_versions.len());
    for prompt in &request.prompt_versions {
        required("name", &prompt.name)?;
        let version = validate::version(&prompt.version)?;
        prompts.push(format!("{}/{version}", prompt.name));
    }
    registry
        .store()
        .link_prompts_to_trace(&request.trace_id, &prompts)
        .await?;
    Ok(Json(Empty {}))
}

/// The spans as the file that the web page reads.
pub(super) async fn artifact(
    State(registry): State<Registry>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let parameter = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let trace_id = parameter("request_id").ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadRequest,
            "Request must include the \"request_id\" query parameter.",
        )
    })?;
    if parameter("path").is_some() {
        return Err(ApiError::new(
            ErrorCode::ResourceDoesNotExist,
            "Traces have no attachments here.",
        ));
    }
    let trace = registry.store().get_trace(&trace_id, true).await?;
    let spans = trace.map(|trace| trace.spans).unwrap_or_default();
    let file = json!({
        "spans": spans.iter().map(crate::otlp::trace_file_span).collect::<Vec<_>>(),
    });
    let mut response = file.to_string().into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=traces.json"),
    );
    Ok(response)
}
